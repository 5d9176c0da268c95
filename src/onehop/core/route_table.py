"""The routes of a group of peers, out of what each Service claims, at the cost of what changed.

Several Services may claim one prefix: they share an address, or an aggregate covers them. Their
communities are united. Where their localPref differ, the claim of the Service whose key comes
first counts with those that agree with it; the others are lost, and said so.
"""

from __future__ import annotations

from collections.abc import Mapping

from onehop.core.advertise import merged_route
from onehop.model.address import IPNetwork
from onehop.model.bgp import RouteAttributes, Routes, no_routes
from onehop.model.service import Key


class RouteTable:
    """All claims, and the routes they make."""

    def __init__(self) -> None:
        self.routes: Routes = no_routes()
        self.lost: dict[IPNetwork, frozenset[Key]] = {}
        self._of: dict[Key, Routes] = {}
        self._claims: dict[IPNetwork, dict[Key, RouteAttributes]] = {}
        self._dirty: list[IPNetwork] = []  # no set: a prefix is slow to hash

    def put(self, key: Key, routes: Routes) -> None:
        """From now on a Service claims these routes and no other."""
        old = self._of.get(key)
        if old:
            for prefix in old.keys() - routes.keys():
                del self._claims[prefix][key]
                self._dirty.append(prefix)
        for prefix, route in routes.items():
            if not old or old.get(prefix) is not route:
                self._claims.setdefault(prefix, {})[key] = route
                self._dirty.append(prefix)
        if routes:
            self._of[key] = routes
        else:
            self._of.pop(key, None)

    def settle(self) -> None:
        """Renew `routes`; the identical mapping stays when nothing differs."""
        routes: dict[IPNetwork, RouteAttributes] | None = None
        for prefix in self._dirty:
            claims = self._claims.get(prefix)
            if claims is None:
                continue
            old = self.routes.get(prefix)
            if not claims:
                del self._claims[prefix]
                self.lost.pop(prefix, None)
                if old is not None:
                    routes = dict(self.routes) if routes is None else routes
                    del routes[prefix]
                continue
            new = self._agreed(prefix, claims)
            if new is not old and new != old:
                routes = dict(self.routes) if routes is None else routes
                routes[prefix] = new
        self._dirty.clear()
        if routes is not None:
            self.routes = routes

    def _agreed(self, prefix: IPNetwork, claims: Mapping[Key, RouteAttributes]) -> RouteAttributes:
        if self.lost:
            self.lost.pop(prefix, None)
        if len(claims) == 1:
            return next(iter(claims.values()))
        distinct = {id(route): route for route in claims.values()}
        route = claims[min(claims)]
        lost: set[int] = set()
        for each in distinct.values():
            merged = merged_route(route, each)
            if merged is None:
                lost.add(id(each))
            else:
                route = merged
        if lost:
            self.lost[prefix] = frozenset(k for k, each in claims.items() if id(each) in lost)
        return route

    def of(self, key: Key) -> Routes:
        """The routes that a Service claims and that count, as they are advertised."""
        return {
            prefix: self.routes[prefix]
            for prefix in self._of.get(key, ())
            if key not in self.lost.get(prefix, ())
        }

    def lost_by(self, key: Key) -> tuple[IPNetwork, ...]:
        """The prefixes that a Service claims in vain."""
        return tuple(prefix for prefix, keys in self.lost.items() if key in keys)
