"""Reason: every way to say no, each with its sentence and where it shows.

One enum serves the decision, the log, the metric, the condition and `onehop explain`. The members
of the datapath part stand in the same order as `enum reason` in bpf/reason.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How much a reason matters to whoever reads it."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Reason(Enum):
    """A refusal: the value is (code, sentence, severity); `code` is what programs match."""

    # configuration
    MANIFEST_UNREADABLE = ("ManifestUnreadable", "the file is not valid YAML", "error")
    FIELD_INVALID = ("FieldInvalid", "a field has a value that its kind does not allow", "error")
    POOL_OVERLAP = ("PoolOverlap", "the pool shares addresses with another pool", "error")
    DUPLICATE_OBJECT = ("DuplicateObject", "two files hold an object of this name", "error")
    UNKNOWN_POOL = ("UnknownPool", "no pool has this name", "warning")
    API_UNREACHABLE = ("ApiUnreachable", "the API server does not answer", "error")
    KIND_MISSING = ("KindMissing", "the API server does not serve this kind", "warning")
    KIND_REFUSED = ("KindRefused", "the API server does not let this kind be read", "error")
    # allocation
    NO_POOLS = ("NoPools", "there is no IPAddressPool", "warning")
    NO_CLUSTER_IP = ("NoClusterIP", "the Service has no cluster IP yet", "info")
    CLASS_IGNORED = ("ClassIgnored", "loadBalancerClass belongs to another controller", "info")
    NOT_LOAD_BALANCER = ("NotLoadBalancer", "the Service is not of type LoadBalancer", "info")
    POOL_EXHAUSTED = ("PoolExhausted", "no address is free in the pools it may use", "error")
    NO_POOL_FOR_SERVICE = ("NoPoolForService", "no pool may serve this Service", "error")
    ADDRESS_IN_USE = ("AddressInUse", "the requested address belongs to another Service", "error")
    ADDRESS_NOT_IN_POOL = ("AddressNotInPool", "the requested address is in no pool", "error")
    ADDRESS_INVALID = ("AddressInvalid", "the requested address cannot be read", "error")
    REQUEST_CONFLICT = ("RequestConflict", "two requests contradict each other", "error")
    FAMILY_MISMATCH = ("FamilyMismatch", "the families do not fit the Service's", "error")
    BUGGY_ADDRESS = ("BuggyAddress", "the pool avoids addresses that end in .0 or .255", "error")
    SHARING_REFUSED = ("SharingRefused", "the address may not be shared with its holder", "error")
    ONE_FAMILY = ("OneFamily", "it prefers two families and gets an address of one", "info")
    POOL_FORBIDDEN = ("PoolForbidden", "the pool's serviceAllocation excludes it", "error")
    # eligibility and election
    NO_ADDRESS = ("NoAddress", "the Service has no address yet", "info")
    ADDRESS_IN_NO_POOL = ("AddressInNoPool", "its address belongs to no pool", "warning")
    NO_ADVERTISEMENT = ("NoAdvertisement", "no L2Advertisement covers it", "warning")
    SHARED_WITH_SELECTOR = (
        "SharedWithSelector",
        "a shared address cannot be announced by an L2Advertisement with serviceSelectors",
        "warning",
    )
    NO_ENDPOINTS = ("NoEndpoints", "no endpoint can serve", "warning")
    NO_LOCAL_ENDPOINT = ("NoLocalEndpoint", "policy Local, and no endpoint here can serve", "info")
    NODE_UNKNOWN = ("NodeUnknown", "no Node object has this name", "error")
    NODE_EXCLUDED = ("NodeExcluded", "the node is excluded from load balancers by label", "info")
    NODE_NETWORK_UNAVAILABLE = (
        "NodeNetworkUnavailable",
        "the node's NetworkUnavailable condition is true",
        "warning",
    )
    NODE_NOT_SELECTED = ("NodeNotSelected", "no L2Advertisement selects the node", "info")
    NOT_OWNER = ("NotOwner", "another node owns the address", "info")
    NO_LINK = ("NoLink", "no link of the node may announce the address", "warning")
    # BGP
    PEER_NOT_SELECTED = ("PeerNotSelected", "the BGPPeer does not select the node", "info")
    NO_BGP_ADVERTISEMENT = ("NoBGPAdvertisement", "no BGPAdvertisement covers it", "info")
    LOCAL_PREF_CONFLICT = (
        "LocalPrefConflict",
        "two BGPAdvertisements give the route different localPref",
        "error",
    )
    COMMUNITY_UNKNOWN = ("CommunityUnknown", "no Community object names this alias", "error")
    BFD_PROFILE_UNKNOWN = ("BFDProfileUnknown", "no BFDProfile has this name", "error")
    SECRET_UNUSABLE = ("SecretUnusable", "the Secret holds no password for the peer", "error")
    COMMUNITY_DUPLICATE = ("CommunityDuplicate", "two Community objects name one alias", "error")
    PEER_DUPLICATE = ("PeerDuplicate", "two BGPPeers describe one session", "error")
    UNKNOWN_PEER = ("UnknownPeer", "no BGPPeer has this name", "warning")
    AGGREGATE_TOO_WIDE = (
        "AggregateTooWide",
        "the aggregated prefix covers addresses outside of the pool's range",
        "error",
    )
    PEER_UNREACHABLE = ("PeerUnreachable", "no TCP connection to the BGP peer", "warning")
    SESSION_DOWN = ("SessionDown", "the BGP session is not established", "warning")
    BFD_DOWN = ("BFDDown", "BFD calls the path to the peer down", "warning")
    BFD_INTERVAL_RAISED = (
        "BFDIntervalRaised",
        "the profile asks for a shorter time than BFD holds here",
        "warning",
    )
    BFD_ECHO_UNSUPPORTED = ("BFDEchoUnsupported", "BFD's echo function is not there", "warning")
    # what a later release serves
    AFFINITY_UNSUPPORTED = (
        "AffinityUnsupported",
        "sessionAffinity ClientIP is not served by this datapath yet",
        "warning",
    )
    SOURCE_RANGES_UNSUPPORTED = (
        "SourceRangesUnsupported",
        "loadBalancerSourceRanges is not served by this datapath yet",
        "warning",
    )
    PROTOCOL_UNSUPPORTED = (
        "ProtocolUnsupported",
        "the port's protocol is not served by this datapath yet",
        "warning",
    )
    FIELD_UNSUPPORTED = ("FieldUnsupported", "a field asks for what is not served yet", "error")
    # the node's machinery
    ADDRESS_CONFLICT = ("AddressConflict", "another host claims the address", "error")
    CAPABILITY_MISSING = ("CapabilityMissing", "the process lacks a capability", "error")
    KERNEL_LACKS = ("KernelLacks", "the kernel lacks what the datapath needs", "error")
    MAP_FULL = ("MapFull", "a map of the datapath is full", "error")
    BACKEND_UNROUTED = ("BackendUnrouted", "no route leads to the local backend", "warning")
    DATAPATH_FAILED = ("DatapathFailed", "the datapath could not be programmed", "error")
    LISTEN_FAILED = ("ListenFailed", "the address cannot be listened at", "error")
    LINK_FAILED = ("LinkFailed", "the link could not be opened", "error")
    STATUS_UNWRITABLE = ("StatusUnwritable", "the status could not be written", "error")
    STATUS_CONTESTED = (
        "StatusContested",
        "somebody else writes other addresses there each time",
        "error",
    )
    # the datapath, packet by packet: dropped
    BACKEND_GONE = ("BackendGone", "a connection's backend is gone", "info")
    PORTS_EXHAUSTED = (
        "PortsExhausted",
        "no source port is free towards the backend",
        "error",
    )
    NO_NODE_ADDRESS = (
        "NoNodeAddress",
        "the node has no address of the family to reach a remote backend from",
        "error",
    )
    FLOWS_FULL = ("FlowsFull", "the flow table took no new entry", "error")
    NO_ROUTE = ("NoRoute", "the routing table refuses the destination", "warning")
    TTL_EXPIRED = ("TtlExpired", "the packet may not be forwarded any further", "info")
    # and passed to the host untouched
    FRAGMENT = ("Fragment", "IP fragments are not balanced", "info")
    IPV4_OPTIONS = ("Ipv4Options", "packets with IPv4 options are not balanced", "info")
    EXTENSION_HEADER = (
        "ExtensionHeader",
        "packets with IPv6 extension headers are not balanced",
        "info",
    )
    MALFORMED = ("Malformed", "the packet's headers contradict each other", "info")

    def __init__(self, code: str, sentence: str, severity: str) -> None:
        self.code = code
        self.sentence = sentence
        self.severity = Severity(severity)


# `enum reason` of bpf/reason.h from its second member on: the counter of DATAPATH[i] is i + 1.
DATAPATH = (
    Reason.NO_ENDPOINTS,
    Reason.NO_LOCAL_ENDPOINT,
    Reason.BACKEND_GONE,
    Reason.PORTS_EXHAUSTED,
    Reason.NO_NODE_ADDRESS,
    Reason.FLOWS_FULL,
    Reason.NO_ROUTE,
    Reason.TTL_EXPIRED,
    Reason.FRAGMENT,
    Reason.IPV4_OPTIONS,
    Reason.EXTENSION_HEADER,
    Reason.MALFORMED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reason with its particulars; `detail` names the object, address or field at fault."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        if not self.detail:
            return f"{self.reason.code}: {self.reason.sentence}"
        return f"{self.reason.code}: {self.reason.sentence} ({self.detail})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with the configuration: where, which object, which field, and why.

    `source` is a file name with the line when the store is a folder, empty otherwise; `line` is
    1-based and 0 when unknown. `object` reads `Kind namespace/name`, `field` `spec.addresses[0]`.
    """

    source: str
    line: int
    object: str
    field: str
    reason: Reason
    detail: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        subject = " ".join(part for part in (self.object, self.field) if part)
        parts = (where if self.source else "", subject, self.detail)
        return f"{': '.join(part for part in parts if part)} [{self.reason.code}]"
