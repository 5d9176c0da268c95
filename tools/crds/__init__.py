"""The custom resource definitions of group metallb.io, written as what they have in common.

`python -m tools.crds` writes `deploy/chart/crds/`, one file a kind. The label selector stands
there eleven times and the BGPPeer twice; here each stands once.
"""
