"""The Adj-RIB-Out of one peer: what is wanted there, what was sent, and the octets between.

RFC 4271 3.2. Both sides of the difference are the very mappings that were handed in, which nobody
changes afterwards: a peer costs no memory of its own for them, and what did not change is told
by identity, without hashing a single prefix. Routes that the session cannot carry (no address of
the family, attributes longer than a message) are left out of both sides alike.

It must never send a withdrawal of what it has not announced, nor an announcement before the
withdrawals: a router whose table is full takes the new route only after the old one is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

from onehop.model.address import Family, IPNetwork
from onehop.model.bgp import RouteAttributes, Routes, no_routes
from onehop.proto.bgp.attribute import Outbound, next_hop
from onehop.proto.bgp.update import announcements, fits, withdrawals

GRACEFUL_SHUTDOWN = 0xFFFF0000  # RFC 8326 3
# A type is told faster than a version, which `ipaddress` computes by a property.
_FAMILIES: dict[type[IPNetwork], Family] = {
    IPv4Network: Family.IPV4,
    IPv6Network: Family.IPV6,
}

Route = tuple[IPNetwork, RouteAttributes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference of two sets of routes; `replaced` holds the old attributes, then the new."""

    gone: tuple[Route, ...] = ()
    new: tuple[Route, ...] = ()
    replaced: tuple[tuple[IPNetwork, RouteAttributes, RouteAttributes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Whole messages, and how many prefixes they announce and withdraw.

    `grown` is by how much the number of advertised prefixes has risen; an announcement of a
    route that stood already does not count.
    """

    octets: bytes = field(default=b"", repr=False)
    messages: int = 0
    announced: int = 0
    withdrawn: int = 0
    grown: int = 0


_NO_CHANGE = Change()
_NO_FLUSH = Flush()


def change(old: Routes, new: Routes) -> Change:
    """What turns `old` into `new`.

    Equal beginnings and ends are cut off first: a Service that comes, goes or changes leaves all
    routes before and behind it the identical objects in the identical order.
    """
    if old is new:
        return _NO_CHANGE
    was, now = (list(old), list(old.values())), (list(new), list(new.values()))
    head = min(_agreeing(was[0], now[0]), _agreeing(was[1], now[1]))
    tail = min(_agreeing_end(was[0], now[0], head), _agreeing_end(was[1], now[1], head))
    return _difference(_between(was, head, tail), _between(now, head, tail))


def _agreeing(some: Sequence[object], others: Sequence[object]) -> int:
    """How many elements from the first on are equal.

    By halves, since comparing two slices of lists costs next to nothing where the elements are
    the identical objects.
    """
    low, high = 0, min(len(some), len(others))
    while low < high:
        middle = (low + high + 1) // 2
        if some[low:middle] == others[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _agreeing_end(some: Sequence[object], others: Sequence[object], head: int) -> int:
    """The same from the last one back, as far as `head`."""
    return _agreeing(some[head:][::-1], others[head:][::-1])


def _between(
    routes: tuple[list[IPNetwork], list[RouteAttributes]], head: int, tail: int
) -> tuple[Route, ...]:
    end = len(routes[0]) - tail
    return tuple(zip(routes[0][head:end], routes[1][head:end], strict=True))


def _difference(before: tuple[Route, ...], after: tuple[Route, ...]) -> Change:
    """Told by the identity of the prefix where it holds: hashing one takes longest of all."""
    if not before or not after:
        return Change(gone=before, new=after)
    left = {id(route[0]): route for route in before}
    replaced = []
    unknown = []
    for prefix, attributes in after:
        found = left.pop(id(prefix), None)
        if found is None:
            unknown.append((prefix, attributes))
        elif found[1] is not attributes and found[1] != attributes:
            replaced.append((prefix, found[1], attributes))
    if not left or not unknown:
        return Change(gone=tuple(left.values()), new=tuple(unknown), replaced=tuple(replaced))
    rest = _difference_by_value(dict(left.values()), unknown)
    return replace(rest, replaced=(*replaced, *rest.replaced))


def _difference_by_value(gone: dict[IPNetwork, RouteAttributes], after: list[Route]) -> Change:
    """The same for prefixes that are made anew each time."""
    new = []
    replaced = []
    for prefix, attributes in after:
        old = gone.pop(prefix, None)
        if old is None:
            new.append((prefix, attributes))
        elif old != attributes:
            replaced.append((prefix, old, attributes))
    return Change(gone=tuple(gone.items()), new=tuple(new), replaced=tuple(replaced))


class Encodings:
    """What was encoded last, so that peers who are told the same share the work and the octets.

    One for all peers of a node. Holds one difference, and one flush for each kind of session.
    """

    __slots__ = ("_change", "_drained", "_flushes", "_new", "_old")

    def __init__(self) -> None:
        self._drained: tuple[Routes, Routes] = (no_routes(), no_routes())
        self._old: Routes = no_routes()
        self._new: Routes = no_routes()
        self._change = _NO_CHANGE
        # Compared and not hashed: there are few kinds of session, and mostly one.
        self._flushes: list[tuple[Outbound, Flush]] = []

    def flush(self, old: Routes, new: Routes, outbound: Outbound) -> Flush:
        """The octets that turn `old` into `new` at a peer of this kind."""
        if old is new:
            return _NO_FLUSH
        if old is not self._old or new is not self._new:
            self._old, self._new = old, new
            self._change = change(old, new)
            self._flushes = []
        for known, flush in self._flushes:
            if known is outbound or known == outbound:
                return flush
        flush = _flush(self._change, outbound)
        self._flushes.append((outbound, flush))
        return flush

    def drained(self, routes: Routes) -> Routes:
        """`drained` of these routes, the identical mapping for every peer that has them."""
        if self._drained[0] is not routes:
            self._drained = routes, drained(routes)
        return self._drained[1]


class _Carried:
    """Which routes a session can carry; asked once for each attributes and family."""

    __slots__ = ("_known", "_outbound")

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._known: dict[tuple[int, type[IPNetwork]], bool] = {}

    def __call__(self, prefix: IPNetwork, attributes: RouteAttributes) -> bool:
        key = (id(attributes), type(prefix))
        known = self._known.get(key)
        if known is None:
            family = _FAMILIES[type(prefix)]
            known = self._known[key] = why_not(family, attributes, self._outbound) is None
        return known


def why_not(family: Family, attributes: RouteAttributes, outbound: Outbound) -> str | None:
    """Why a session cannot carry a route, in words, or None when it can."""
    agreed = outbound.negotiated
    if family not in agreed.families:
        return f"{family.value} is not agreed on with this peer"
    if next_hop(family, attributes, outbound) is None:
        if family is Family.IPV4 and outbound.next_hop_ipv6 is not None:
            return "there is no IPv4 next hop, and the peer takes none of IPv6 (RFC 8950)"
        return f"there is no {family.value} next hop on this session"
    if not fits(family, attributes, outbound):
        return f"its attributes do not fit into a message of {agreed.max_length} octets"
    return None


def _flush(change: Change, outbound: Outbound) -> Flush:
    carried = _Carried(outbound)
    withdrawn = [prefix for prefix, attributes in change.gone if carried(prefix, attributes)]
    announced = [route for route in change.new if carried(*route)]
    grown = len(announced) - len(withdrawn)
    for prefix, old, new in change.replaced:
        was, is_now = carried(prefix, old), carried(prefix, new)
        if is_now:
            announced.append((prefix, new))
        elif was:
            withdrawn.append(prefix)
        grown += is_now - was
    messages = [*_withdrawing(withdrawn, outbound), *_announcing(announced, outbound)]
    return Flush(
        octets=b"".join(messages),
        messages=len(messages),
        announced=len(announced),
        withdrawn=len(withdrawn),
        grown=grown,
    )


def _withdrawing(prefixes: Iterable[IPNetwork], outbound: Outbound) -> Iterator[bytes]:
    by_family: dict[type[IPNetwork], list[IPNetwork]] = {kind: [] for kind in _FAMILIES}
    for prefix in prefixes:
        by_family[type(prefix)].append(prefix)
    for kind, gone in by_family.items():
        yield from withdrawals(_FAMILIES[kind], gone, outbound)


def _announcing(routes: Iterable[Route], outbound: Outbound) -> Iterator[bytes]:
    """Grouped by equal attributes and family: by identity first, since hashing costs most."""
    by_identity: dict[tuple[int, type[IPNetwork]], tuple[RouteAttributes, list[IPNetwork]]] = {}
    for prefix, attributes in routes:
        key = (id(attributes), type(prefix))
        group = by_identity.get(key)
        if group is None:
            group = by_identity[key] = (attributes, [])
        group[1].append(prefix)
    by_value: dict[tuple[RouteAttributes, type[IPNetwork]], list[IPNetwork]] = {}
    for (_, kind), (attributes, prefixes) in by_identity.items():
        by_value.setdefault((attributes, kind), []).extend(prefixes)
    for (attributes, kind), prefixes in by_value.items():
        yield from announcements(_FAMILIES[kind], prefixes, attributes, outbound)


class RibOut:
    """What one established session has been told."""

    __slots__ = ("_encodings", "_outbound", "_sent", "advertised")

    def __init__(self, outbound: Outbound, encodings: Encodings) -> None:
        self._outbound = outbound
        self._encodings = encodings
        self._sent: Routes = no_routes()
        self.advertised = 0

    def flush(self, want: Routes) -> Flush:
        """From now on `want`, and nothing else, is advertised; the octets that say so."""
        flush = self._encodings.flush(self._sent, want, self._outbound)
        self._sent = want
        self.advertised += flush.grown
        return flush

    def again(self, family: Family) -> Flush:
        """All that is advertised of one family once more (RFC 2918 4)."""
        carried = _Carried(self._outbound)
        routes = [
            route
            for route in self._sent.items()
            if _FAMILIES[type(route[0])] is family and carried(*route)
        ]
        messages = list(_announcing(routes, self._outbound))
        return Flush(octets=b"".join(messages), messages=len(messages), announced=len(routes))

    def why_not(self, prefix: IPNetwork) -> str | None:
        """Why a prefix is not advertised to this peer, or None when it is."""
        attributes = self._sent.get(prefix)
        if attributes is None:
            return "no route is wanted there"
        return why_not(_FAMILIES[type(prefix)], attributes, self._outbound)


def drained(routes: Routes) -> Routes:
    """The same routes, as the last resort of whoever takes them (RFC 8326 4).

    The community asks an external peer for it; inside the AS the local preference is 0 as well.
    """
    known: dict[int, RouteAttributes] = {}
    for attributes in routes.values():
        if id(attributes) not in known:
            communities = tuple(sorted({*attributes.communities, GRACEFUL_SHUTDOWN}))
            known[id(attributes)] = replace(attributes, communities=communities, local_pref=0)
    return {prefix: known[id(attributes)] for prefix, attributes in routes.items()}
