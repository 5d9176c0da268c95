"""EndpointSlices by Service, kept from one snapshot to the next."""

from __future__ import annotations

from collections.abc import Mapping

from onehop.model.diff import moved
from onehop.model.service import EndpointSlice, Key


class SliceIndex:
    """The slices of each Service, in the order of their names."""

    def __init__(self) -> None:
        self._slices: Mapping[Key, EndpointSlice] = {}
        self._by_service: dict[Key, tuple[EndpointSlice, ...]] = {}

    def of(self, service: Key) -> tuple[EndpointSlice, ...]:
        """The slices of one Service."""
        return self._by_service.get(service, ())

    def replace(self, slices: Mapping[Key, EndpointSlice]) -> set[Key]:
        """Take the slices of a later snapshot; the Services whose slices differ come back."""
        gone, come = moved(self._slices, slices)
        self._slices = slices
        touched: set[Key] = set()
        for slice_ in gone.values():
            touched.add(slice_.service)
            rest = tuple(s for s in self._by_service[slice_.service] if s is not slice_)
            self._by_service[slice_.service] = rest
        for slice_ in come.values():
            touched.add(slice_.service)
            others = self._by_service.get(slice_.service, ())
            ordered = sorted((*others, slice_), key=_name) if others else (slice_,)
            self._by_service[slice_.service] = tuple(ordered)
        for service in [key for key in touched if not self._by_service[key]]:
            del self._by_service[service]
        return touched


def _name(slice_: EndpointSlice) -> Key:
    return slice_.key
