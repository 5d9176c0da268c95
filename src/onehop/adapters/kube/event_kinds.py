"""The kinds of Events: each reason, sentence and occasion, named once.

What is sent is made from these, and docs/reference/events.md is printed from them. Reasons are
MetalLB's where it has one for the occasion, so that whoever filters by them goes on finding them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """One kind of Event.

    An empty `reason` stands for the code of a Reason, which comes with the occasion. `note` is
    the sentence, with the names of its particulars in braces. `metallb` is what MetalLB says
    instead, empty when it says nothing.
    """

    component: str
    regarding: str
    is_warning: bool
    reason: str
    action: str
    note: str
    when: str
    metallb: str = ""


CONTROLLER, SPEAKER = "onehop-controller", "onehop-speaker"

IP_ALLOCATED = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=False,
    reason="IPAllocated",
    action="Allocate",
    note="Assigned IP {addresses} from pool {pool}",
    when="it has addresses, and had none",
    metallb="`IPAllocated`, without the pool",
)
IP_REPLACED = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=False,
    reason="IPAllocated",
    action="Allocate",
    note="Assigned IP {addresses} from pool {pool} in place of {before}",
    when="it has other addresses than before",
    metallb="`IPAllocated`, without the pool and the old address",
)
CLEAR_ASSIGNMENT = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=True,
    reason="ClearAssignment",
    action="Allocate",
    note="Released {before}: {refusal}",
    when="its addresses were taken from it, and it has no others",
    metallb="`ClearAssignment`, as Normal",
)
ALLOCATION_FAILED = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=True,
    reason="AllocationFailed",
    action="Allocate",
    note="Failed to allocate IP: {refusal}",
    when="it gets no address, and its status did not give this reason before",
    metallb="`AllocationFailed`, `LoadBalancerFailed`, `nolbIPsIPFamily`, `noclusterIPsIPFamily` "
    "or `not enough clusterips`",
)
PARTLY_REFUSED = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=True,
    reason="",
    action="Allocate",
    note="{refusal}",
    when="it has addresses, and something that it asks for cannot be done; its status did not "
    "give this reason before",
)
ADDITIONAL_ASSIGN_FAILED = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=False,
    reason="AdditionalAssignFailed",
    action="Allocate",
    note="Cannot assign an additional IP: {refusal}",
    when="it prefers two families and has an address of one, and its status did not say so before",
    metallb="`AdditionalAssignFailed`, at each pass over the Service; also where the Service has "
    "one cluster IP, and so asks for one family",
)
PROBLEM = EventKind(
    component=CONTROLLER,
    regarding="Service or an object of `metallb.io`",
    is_warning=True,
    reason="",
    action="Validate",
    note="{problem}",
    when="something in it is wrong, or contradicts another object",
    metallb="nothing: its webhook refuses some of it, the log tells of the rest",
)
DEPRECATED_ANNOTATION = EventKind(
    component=CONTROLLER,
    regarding="Service",
    is_warning=True,
    reason="deprecatedAnnotation",
    action="Validate",
    note="Service uses deprecated annotation {annotation}: it is {present} now",
    when="it has an annotation with MetalLB's old prefix, and had not; the annotation is read "
    "all the same",
    metallb="`deprecatedAnnotation`, with each change of its status",
)
TAKEN_OVER = EventKind(
    component=SPEAKER,
    regarding="Service",
    is_warning=False,
    reason="nodeAssigned",
    action="Announce",
    note='announcing from node "{node}" with protocol "layer2"',
    when="a node announces it at layer 2 in place of another one; not when a new Service is "
    "announced for the first time",
    metallb="`nodeAssigned`, at each pass over the Service",
)
ADVERTISED = EventKind(
    component=SPEAKER,
    regarding="Service",
    is_warning=False,
    reason="nodeAssigned",
    action="Announce",
    note='announcing from node "{node}" with protocol "bgp"',
    when="a node begins to advertise it to its BGP peers; not when its speaker starts",
    metallb="`nodeAssigned`, at each pass over the Service",
)
ANNOUNCE_FAILED = EventKind(
    component=SPEAKER,
    regarding="Service",
    is_warning=True,
    reason="announceFailed",
    action="Announce",
    note='cannot announce from node "{node}" with protocol "layer2": {refusal}',
    when="a node owns it at layer 2, and can use none of the interfaces that its L2Advertisements "
    "list: they are not there, or part of a bridge or bond",
    metallb="`announceFailed`, at each pass over the Service and for each address; also while the "
    "interface is down",
)

KINDS = (
    IP_ALLOCATED,
    IP_REPLACED,
    CLEAR_ASSIGNMENT,
    ALLOCATION_FAILED,
    PARTLY_REFUSED,
    ADDITIONAL_ASSIGN_FAILED,
    PROBLEM,
    DEPRECATED_ANNOTATION,
    TAKEN_OVER,
    ADVERTISED,
    ANNOUNCE_FAILED,
)
# Reasons of MetalLB's that nothing here can give rise to, and why.
NOT_WRITTEN = {
    "InternalError": "MetalLB writes it when its controller finds that it has given no address "
    "and no reason, or an address of no pool; here a status is made of the addresses of one pool "
    "or of a reason, and of nothing else.",
}
