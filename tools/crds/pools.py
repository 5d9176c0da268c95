"""IPAddressPool and L2Advertisement, and the statuses that speakers and controller write."""

from __future__ import annotations

from tools.crds.schema import (
    DISTINCT,
    EMPTY,
    MANY,
    NAME,
    Schema,
    checked,
    column,
    definition,
    fields,
    flag,
    listed,
    names,
    number,
    rule,
    selector,
    selectors,
    text,
    version,
)

_ENDS = ("self.split('-')[0].trim()", "self.split('-')[1].trim()")
_IS_RANGE = f"self.split('-').size() == 2 && isIP({_ENDS[0]}) && isIP({_ENDS[1]})"
_NO_RANGE = f"!self.contains('-') || !({_IS_RANGE})"

# CEL compares no addresses. But it tells which networks of the first end hold the last one, so how
# many bits the two have in common; the range runs upwards when the next bit of the first end is 0,
# and that is so when it may be masked away without loss. Written for the estimate of its cost:
# literals instead of `string(number)`, and the last end parsed once.
_V4, _V6 = (", ".join(f"'/{length}'" for length in range(bits + 1)) for bits in (32, 128))
_UPWARDS = f"""
    [{_ENDS[0]}].all(first, [ip({_ENDS[1]})].all(last, ip(first).family() != last.family()
    || [(last.family() == 4 ? [{_V4}] : [{_V6}])
        .filter(length, cidr(first + length).containsIP(last)).size()]
       .all(next, next > (last.family() == 4 ? 32 : 128)
         || cidr(first + [{_V6}][next]).masked().ip()
            == cidr(first + [{_V6}][next - 1]).masked().ip())))
"""

_ADDRESS_RANGE = checked(
    text(maxLength=80),
    rule(
        f"self.contains('-') ? {_IS_RANGE} : isCIDR(self)",
        "is neither a CIDR nor a range start-end",
    ),
    rule(
        f"{_NO_RANGE} || ip({_ENDS[0]}).family() == ip({_ENDS[1]}).family()",
        "the ends of the range are of two families",
    ),
    rule(f"{_NO_RANGE} || {_UPWARDS}", "the range ends before it starts"),
)

_ALLOCATION = fields(
    {
        "priority": number(
            "Pools with a lower number are drawn from first; 0, the default, comes last.", 0
        ),
        "namespaces": names("Namespaces whose Services may draw from the pool.", longest=63),
        "namespaceSelectors": selectors("Labels of Namespaces, beside those named."),
        "serviceSelectors": selectors("Labels of Services that may draw from the pool."),
    },
    "Who may draw from the pool without asking for it by name. With neither namespaces nor "
    "selectors: every Service.",
)

_POOL = fields(
    {
        "addresses": listed(
            _ADDRESS_RANGE,
            "Addresses of the pool: CIDRs, and ranges written start-end. IPv4 and IPv6 may stand "
            "side by side.",
            DISTINCT,
            most=400,
        )
        | {"minItems": 1},
        "autoAssign": flag(
            "Whether Services that ask for nothing get addresses of this pool.", default=True
        ),
        "avoidBuggyIPs": flag(
            "Whether IPv4 addresses that end in 0 or 255 stay unused.", default=False
        ),
        "serviceAllocation": _ALLOCATION,
    },
    "What the pool holds and whom it serves.",
    required=["addresses"],
)

_POOL_STATUS = fields(
    {
        name: number(description, 0, format="int64")
        for name, description in (
            ("assignedIPv4", "IPv4 addresses that Services hold."),
            ("assignedIPv6", "IPv6 addresses that Services hold."),
            ("availableIPv4", "IPv4 addresses that are free."),
            ("availableIPv6", "IPv6 addresses that are free."),
        )
    },
    "How much of the pool is used; the controller writes it.",
    required=["assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6"],
)

POOL_NAMES = names("Names of the pools; with no selectors either, all pools.")
POOL_SELECTORS = selectors("Labels of pools, beside those named.")
NODE_SELECTORS = selectors("Labels of nodes, one of which has to match; none: all nodes.")
SERVICE_SELECTORS = selectors("Labels of Services, one of which has to match; none: all.")

_PREFERRED = fields(
    {
        "weight": number("How much a node gains by matching.", 1, 100, format="int32"),
        "preference": selector("Labels of the nodes to prefer."),
    },
    "Labels of nodes with their weight.",
    required=["weight", "preference"],
)

_L2_ADVERTISEMENT = fields(
    {
        "ipAddressPools": POOL_NAMES,
        "ipAddressPoolSelectors": POOL_SELECTORS,
        "nodeSelectors": NODE_SELECTORS,
        "serviceSelectors": SERVICE_SELECTORS,
        "interfaces": listed(
            text(maxLength=NAME), "Links to announce on, by name; none: every usable link."
        ),
        "preferredNodeSelectors": listed(
            _PREFERRED,
            "Which of the eligible nodes should own an address: the sum of the weights that a "
            "node gains decides first.",
            most=64,
        ),
    },
    "Which addresses are announced at layer 2, from where, and on which links.",
)

_PLACES = (
    column("IPAddressPools", ".spec.ipAddressPools"),
    column("IPAddressPool Selectors", ".spec.ipAddressPoolSelectors"),
)
NODES_COLUMN = column("Node Selectors", ".spec.nodeSelectors", priority=10)
PLACES = _PLACES


def _once(description: str) -> Schema:
    return checked(text(description), rule("self == oldSelf", "cannot be changed"))


def _service_status(kind: str, plural: str, what: str, node: str, extra: Schema) -> Schema:
    service = {
        "node": _once("Node whose speaker wrote this."),
        "serviceName": _once("Name of the Service."),
        "serviceNamespace": _once("Namespace of the Service."),
    }
    return definition(
        kind,
        plural,
        version(
            kind,
            "v1beta1",
            EMPTY,
            (
                column(node, ".status.node"),
                column("Service Name", ".status.serviceName"),
                column("Service Namespace", ".status.serviceNamespace"),
            ),
            description=what,
            status=fields({**service, **extra}, "What the speaker does for the Service."),
            subresource=False,  # all of it is status, and one write of it is enough
        ),
    )


_CONDITION = fields(
    {
        "type": text(
            "What the condition is about.",
            maxLength=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
        "status": text("Whether it holds.", enum=["True", "False", "Unknown"]),
        "reason": text(
            "Why, as a word for programs.",
            minLength=1,
            maxLength=1024,
            pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        ),
        "message": text("Why, as a sentence for people.", maxLength=32768),
        "lastTransitionTime": text("When its status last changed.", format="date-time"),
        "observedGeneration": number(
            "Generation of the object that this was said of.", 0, format="int64"
        ),
    },
    "One condition.",
    required=["lastTransitionTime", "message", "reason", "status", "type"],
)

_CONFIGURATION = fields(
    {
        "result": text(
            "Whether the whole configuration is in force.", enum=["Valid", "Invalid", "Unknown"]
        ),
        "errorSummary": text("What is wrong, one problem a line."),
        "conditions": {
            **listed(_CONDITION, "The verdict part by part.", most=MANY),
            "x-kubernetes-list-map-keys": ["type"],
            "x-kubernetes-list-type": "map",
        },
    },
    "What the writer thinks of the configuration.",
)

DEFINITIONS = (
    definition(
        "IPAddressPool",
        "ipaddresspools",
        version(
            "IPAddressPool",
            "v1beta1",
            _POOL,
            (
                column("Auto Assign", ".spec.autoAssign", "boolean"),
                column("Avoid Buggy IPs", ".spec.avoidBuggyIPs", "boolean"),
                column("Addresses", ".spec.addresses"),
            ),
            description="Addresses that Services of type LoadBalancer may get.",
            status=_POOL_STATUS,
            top={"required": ["spec"]},
        ),
    ),
    definition(
        "L2Advertisement",
        "l2advertisements",
        version(
            "L2Advertisement",
            "v1beta1",
            _L2_ADVERTISEMENT,
            (*_PLACES, column("Interfaces", ".spec.interfaces"), NODES_COLUMN),
            description="Has addresses of pools announced by ARP and NDP.",
        ),
    ),
    _service_status(
        "ServiceL2Status",
        "servicel2statuses",
        "Which node announces a Service at layer 2; speakers write it.",
        "Allocated Node",
        {
            "interfaces": listed(
                fields({"name": text("Name of the link.")}, "One link."),
                "Links that the Service is announced on, where an advertisement names some.",
            )
        },
    ),
    _service_status(
        "ServiceBGPStatus",
        "servicebgpstatuses",
        "Which routers a node tells of a Service; speakers write it.",
        "Node",
        {"peers": listed(text(), "Names of the BGPPeers that are told of the Service.")},
    ),
    definition(
        "ConfigurationState",
        "configurationstates",
        version(
            "ConfigurationState",
            "v1beta1",
            None,
            (
                column("Result", ".status.result"),
                column("ErrorSummary", ".status.errorSummary"),
                column("Age", ".metadata.creationTimestamp", "date"),
            ),
            description="What the controller or one speaker thinks of the configuration.",
            status=_CONFIGURATION,
        ),
    ),
)
