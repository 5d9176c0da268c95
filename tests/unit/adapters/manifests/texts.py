"""Manifests for tests, short enough to see what differs."""

from __future__ import annotations

from pathlib import Path

from onehop.adapters.manifests import Manifests
from onehop.model.objects import Objects


def a_namespace(name: str, team: str = "blue") -> str:
    return (
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\n"
    )


def a_service(name: str = "web", *, policy: str = "Cluster", extra: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec:\n  type: LoadBalancer\n  clusterIP: 10.96.0.1\n"
        f"  externalTrafficPolicy: {policy}\n  ports: [{{name: http, port: 80}}]\n{extra}"
    )


def documents(*texts: str) -> str:
    return "---\n".join(texts)


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  ports:
  - {name: http, port: 80}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- addresses: [10.0.0.1]
"""
POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec:
  addresses:
  - 192.0.2.0/24
"""
ADVERTISEMENT = """\
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: adv, namespace: metallb-system}
spec:
  nodeSelectors:
  - matchExpressions:
    - {key: rack, operator: In, values: [a]}
"""
NODE = """\
apiVersion: v1
kind: Node
metadata: {name: node0}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop}
spec:
  containers:
  - ports:
    - {containerPort: 80}
status:
  podIPs:
  - {ip: 10.0.0.1}
"""


def read(store: Manifests, folder: Path, text: str) -> Objects:
    (folder / "x.yaml").write_text(text)
    store.refresh()
    return store.objects()
