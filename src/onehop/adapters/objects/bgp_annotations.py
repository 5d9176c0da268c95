"""What MetalLB's BGP kinds have no field for, asked for by annotations of ours.

They stand on the object that they are about, so that MetalLB and its schemas let them be.
"""

from __future__ import annotations

from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape import ObjectShape
from onehop.model.bgp import AuthenticationOption, Role
from onehop.model.service import Key

WEIGHTED = "onehop.io/weighted-ecmp"
TTL_SECURITY = "onehop.io/ttl-security"
ROLE = "onehop.io/role"
PASSIVE = "onehop.io/passive"
TCP_AO = "onehop.io/tcp-ao"
STALE_TIME = "onehop.io/long-lived-stale-time"
_LAST_TTL = 255
_LAST_ID = 255
_LAST_STALE_TIME = 0xFFFFFF  # 24 bits, RFC 9494 3.1
_ROLES = {role.name.lower().replace("_", "-"): role for role in Role}


def text_of(shape: ObjectShape, name: str) -> str | None:
    """An annotation, None when it is not there."""
    return (shape.metadata.annotations or {}).get(name)


def switch(reading: Reading, shape: ObjectShape, name: str) -> bool:
    """An annotation that is `true` or `false`; the latter when it is absent."""
    text = text_of(shape, name) or "false"
    if text not in ("true", "false"):
        reading.note(("metadata", "annotations", name), f"{text!r} is not one of true, false")
    return text == "true"


def hops(reading: Reading, shape: ObjectShape) -> int | None:
    """How many hops away the peer may be (RFC 5082 3); None without the annotation."""
    text = text_of(shape, TTL_SECURITY)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_TTL):
        path = ("metadata", "annotations", TTL_SECURITY)
        reading.note(path, f"{text!r} is not a number of hops from 1 to {_LAST_TTL}")
        return None
    return int(text)


def stale_time(reading: Reading, shape: ObjectShape) -> int:
    """For how many seconds routes may be kept after the restart time; 0 without the annotation."""
    text = text_of(shape, STALE_TIME)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_STALE_TIME):
        path = ("metadata", "annotations", STALE_TIME)
        reading.note(path, f"{text!r} is not a number of seconds from 1 to {_LAST_STALE_TIME}")
        return 0
    return int(text)


def role(reading: Reading, shape: ObjectShape) -> Role | None:
    """What we are to the peer (RFC 9234 4.1); None without the annotation."""
    text = text_of(shape, ROLE)
    if text is None:
        return None
    if text not in _ROLES:
        path = ("metadata", "annotations", ROLE)
        reading.note(path, f"{text!r} is not one of {', '.join(_ROLES)}")
    return _ROLES.get(text)


def authentication(reading: Reading, key: Key, shape: ObjectShape) -> AuthenticationOption | None:
    """The TCP-AO key (RFC 5925 3.1), `SECRET[:SEND-ID[:RECEIVE-ID]]`; None without the annotation.

    The Secret is in the BGPPeer's namespace. Without numbers both are 1; one number is both.
    """
    text = text_of(shape, TCP_AO)
    if text is None:
        return None
    name, *numbers = text.split(":")
    ids = [int(each) for each in numbers if each.isascii() and each.isdigit()]
    if not name or len(numbers) > 2 or len(ids) < len(numbers) or any(x > _LAST_ID for x in ids):
        detail = f"{text!r} is not SECRET[:SEND-ID[:RECEIVE-ID]] with numbers up to {_LAST_ID}"
        reading.note(("metadata", "annotations", TCP_AO), detail)
        return None
    first, *rest = ids or [1]
    return AuthenticationOption(
        secret=Key(key.namespace, name), send_id=first, receive_id=rest[0] if rest else first
    )
