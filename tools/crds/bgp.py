"""BGPPeer, BGPAdvertisement, BFDProfile and Community."""

from __future__ import annotations

from tools.crds.pools import (
    NODE_SELECTORS,
    NODES_COLUMN,
    PLACES,
    POOL_NAMES,
    POOL_SELECTORS,
    SERVICE_SELECTORS,
)
from tools.crds.schema import (
    DISTINCT,
    FEWER,
    NAME,
    Schema,
    address,
    checked,
    column,
    definition,
    fields,
    flag,
    listed,
    names,
    number,
    rule,
    text,
    version,
)

_LAST_ASN = 0xFFFFFFFF
_DURATION = r"^(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$"
_IS_COMMUNITY = """
    (self.matches('^[0-9]{1,10}:[0-9]{1,10}$') && self.split(':').all(part, int(part) <= 65535))
    || (self.matches('^large:[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$')
        && self.substring(6).split(':').all(part, int(part) <= 4294967295))
"""


def _asn(description: str, first: int) -> Schema:
    return number(description, first, _LAST_ASN, format="int64")


def _duration(description: str, *rules: Schema) -> Schema:
    found = text(f"{description} Written like 90s or 1m30s.", maxLength=64, pattern=_DURATION)
    return checked(found, *rules) if rules else found


def _seconds(field: str) -> str:
    return f"duration(self.{field})"


_HOLD_BOUNDS = "== duration('0s') || ({0} >= duration('3s') && {0} <= duration('65535s'))"

_PEER_FIELDS = {
    "myASN": _asn("AS number of our side.", 1),
    "peerASN": _asn("AS number of the router; 0 counts as unset.", 0),
    "dynamicASN": text(
        "In place of peerASN: internal takes a router of our own AS, external one of any other.",
        enum=["internal", "external"],
    ),
    "localASN": _asn("AS number shown to this router in place of myASN.", 1),
    "peerAddress": address(
        "Address of the router.",
        rule(
            """self == '' || !isIP(self) || ip(self).isGlobalUnicast()
            || ip(self).isLinkLocalUnicast() || ip(self).isLoopback()""",
            "is not the address of a host",
        ),
    ),
    "interface": text("Link with the router at its other end, in place of peerAddress."),
    "sourceAddress": address("Our address on the session; it has to be an address of the node."),
    "peerPort": number("Port of the router.", 1, 16384, default=179),
    "holdTime": _duration(
        "How long the session outlives the silence of the router; 0s: forever.",
        rule(
            "duration(self) " + _HOLD_BOUNDS.format("duration(self)"),
            "is neither 0s nor from 3s to 65535s",
        ),
    ),
    "keepaliveTime": _duration("How often we say that we are there; a third of holdTime."),
    "connectTime": _duration(
        "How long to wait before another attempt to connect.",
        rule(
            "duration(self) >= duration('1s') && duration(self) <= duration('65535s')",
            "is not between 1s and 65535s",
        ),
        rule("duration(self).getMilliseconds() % 1000 == 0", "is not a whole number of seconds"),
    ),
    "routerID": address(
        "Our BGP identifier, written as an IPv4 address; the node's own address when unset.",
        rule(
            "!isIP(self) || (ip(self).family() == 4 && !ip(self).isUnspecified())",
            "is not an IPv4 address other than 0.0.0.0",
        ),
    ),
    "nodeSelectors": NODE_SELECTORS,
    "password": text("Password of the session (TCP MD5).", maxLength=80),
    "passwordSecret": fields(
        {
            "name": text("Name of the Secret."),
            "namespace": text("Namespace of the Secret; that of the BGPPeer when unset."),
        },
        "Secret of type kubernetes.io/basic-auth whose key password holds the password.",
        **{"x-kubernetes-map-type": "atomic"},
    ),
    "bfdProfile": text("Name of the BFDProfile that watches the path to the router."),
    "enableGracefulRestart": checked(
        flag("Whether the router keeps our routes while a speaker restarts."),
        rule("self == oldSelf", "cannot be changed"),
    ),
    "ebgpMultiHop": flag("Whether a router of another AS may be several hops away."),
    "vrf": text("VRF that holds the session."),
    "disableMP": flag("Without effect; kept for old manifests.", default=False),
    "dualStackAddressFamily": flag(
        "Whether the session carries IPv4 and IPv6 routes, whatever it runs over.",
        default=False,
    ),
}

_HAS_ASN = "(has(self.peerASN) && self.peerASN != 0)"
_HAS_ADDRESS = "(has(self.peerAddress) && self.peerAddress != '')"
_HAS_KEEPALIVE = "!has(self.keepaliveTime)"

_PEER = checked(
    fields(_PEER_FIELDS, "The session and its two sides.", required=["myASN"]),
    rule(f"{_HAS_ASN} != has(self.dynamicASN)", "needs either peerASN or dynamicASN, not both"),
    rule(
        f"{_HAS_ADDRESS} != (has(self.interface) && self.interface != '')",
        "needs either peerAddress or interface, not both",
    ),
    rule(
        """!has(self.password) || self.password == '' || !has(self.passwordSecret)
        || !has(self.passwordSecret.name) || self.passwordSecret.name == ''""",
        "password cannot stand beside passwordSecret",
        ".passwordSecret",
    ),
    rule(
        f"""!has(self.ebgpMultiHop) || !self.ebgpMultiHop
        || ({_HAS_ASN} ? self.peerASN != self.myASN
            : !has(self.dynamicASN) || self.dynamicASN != 'internal')""",
        "is for a router of another AS than myASN",
        ".ebgpMultiHop",
    ),
    rule(
        f"""!has(self.sourceAddress) || !{_HAS_ADDRESS}
        || !isIP(self.sourceAddress) || !isIP(self.peerAddress)
        || ip(self.sourceAddress).family() == ip(self.peerAddress).family()""",
        "is not of the family of peerAddress",
        ".sourceAddress",
    ),
    rule(
        f"""{_HAS_KEEPALIVE} || !has(self.holdTime)
        || duration(self.keepaliveTime) <= duration(self.holdTime)""",
        "is above holdTime",
        ".keepaliveTime",
    ),
    rule(
        f"""{_HAS_KEEPALIVE} || has(self.holdTime)
        || duration(self.keepaliveTime) == duration('0s')
        || (duration(self.keepaliveTime) >= duration('1s')
            && duration(self.keepaliveTime) <= duration('21845s'))""",
        "makes a holdTime, three times as long, that is neither 0s nor from 3s to 65535s",
        ".keepaliveTime",
    ),
)

_PEER_COLUMNS = (
    column("Address", ".spec.peerAddress"),
    column("ASN", ".spec.peerASN"),
    column("BFD Profile", ".spec.bfdProfile"),
    column("Multi Hops", ".spec.ebgpMultiHop"),
)


def _peer(name: str, **more: object) -> Schema:
    return version(
        "BGPPeer",
        name,
        _PEER,
        _PEER_COLUMNS,
        description="A router to hold a BGP session with.",
        **more,
    )


_ADVERTISEMENT = checked(
    fields(
        {
            "aggregationLength": number(
                "Prefix length of IPv4 routes.", 1, 32, format="int32", default=32
            ),
            "aggregationLengthV6": number(
                "Prefix length of IPv6 routes.", 1, 128, format="int32", default=128
            ),
            "localPref": number(
                "LOCAL_PREF of the routes inside our AS; 0 counts as unset.", 0, format="int32"
            ),
            "communities": listed(
                checked(
                    text(maxLength=NAME),
                    rule(
                        f"!(self.contains(':') || self.matches('^[0-9]*$')) || {_IS_COMMUNITY}",
                        "is neither A:B nor large:A:B:C nor the name of a Community",
                    ),
                ),
                "Communities of the routes: A:B, large:A:B:C, or a name that a Community object "
                "gives.",
                DISTINCT,
                most=FEWER,
            ),
            "ipAddressPools": POOL_NAMES,
            "ipAddressPoolSelectors": POOL_SELECTORS,
            "nodeSelectors": NODE_SELECTORS,
            "serviceSelectors": SERVICE_SELECTORS,
            "peers": names("Names of the BGPPeers to tell; none: all."),
        },
        "Which addresses become routes, and what the routes carry.",
    ),
    rule(
        """!has(self.serviceSelectors) || self.serviceSelectors.size() == 0
        || !has(self.aggregationLength) || self.aggregationLength == 32""",
        "cannot stand beside serviceSelectors: it would attract other Services' traffic",
        ".aggregationLength",
    ),
    rule(
        """!has(self.serviceSelectors) || self.serviceSelectors.size() == 0
        || !has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128""",
        "cannot stand beside serviceSelectors: it would attract other Services' traffic",
        ".aggregationLengthV6",
    ),
)


def _milliseconds(description: str) -> Schema:
    return number(description, 10, 60000, format="int32")


_PROFILE = fields(
    {
        "receiveInterval": _milliseconds("Shortest time between packets that we take, in ms."),
        "transmitInterval": _milliseconds("Shortest time between packets that we send, in ms."),
        "detectMultiplier": number(
            "How many packets may be missing before the path counts as down.",
            2,
            255,
            format="int32",
        ),
        "echoInterval": _milliseconds("Shortest time between echo packets that we take, in ms."),
        "echoMode": flag("Whether the echo function is used."),
        "passiveMode": flag("Whether the router has to speak first."),
        "minimumTtl": number(
            "Least TTL of a packet that is taken, on paths of several hops.",
            1,
            254,
            format="int32",
        ),
    },
    "Timers and modes of the BFD sessions that use the profile.",
)

_ALIAS = fields(
    {
        "name": text("Name to use in a BGPAdvertisement.", maxLength=NAME, minLength=1),
        "value": checked(
            text("The community: A:B or large:A:B:C.", maxLength=64),
            rule(_IS_COMMUNITY, "is neither A:B nor large:A:B:C"),
        ),
    },
    "One name and its community.",
    required=["name", "value"],
)

_COMMUNITY = fields(
    {
        "communities": listed(
            _ALIAS,
            "Names for communities.",
            rule(
                "self.all(each, self.exists_one(other, other.name == each.name))",
                "a name stands in the list twice",
            ),
            most=FEWER,
        )
    },
    "The names.",
)

DEFINITIONS = (
    definition(
        "BGPPeer",
        "bgppeers",
        _peer(
            "v1beta1",
            storage=False,
            deprecated=True,
            deprecationWarning="metallb.io/v1beta1 BGPPeer is deprecated: use metallb.io/v1beta2",
        ),
        _peer("v1beta2"),
    ),
    definition(
        "BGPAdvertisement",
        "bgpadvertisements",
        version(
            "BGPAdvertisement",
            "v1beta1",
            _ADVERTISEMENT,
            (*PLACES, column("Peers", ".spec.peers"), NODES_COLUMN),
            description="Has addresses of pools advertised to routers by BGP.",
        ),
    ),
    definition(
        "BFDProfile",
        "bfdprofiles",
        version(
            "BFDProfile",
            "v1beta1",
            _PROFILE,
            (
                column("Passive Mode", ".spec.passiveMode", "boolean"),
                column("Transmit Interval", ".spec.transmitInterval", "integer"),
                column("Receive Interval", ".spec.receiveInterval", "integer"),
                column("Multiplier", ".spec.detectMultiplier", "integer"),
            ),
            description="How BFD watches the path to a router.",
        ),
    ),
    definition(
        "Community",
        "communities",
        version(
            "Community",
            "v1beta1",
            _COMMUNITY,
            description="Names for BGP communities.",
        ),
    ),
)
