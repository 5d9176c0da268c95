"""Snapshot: all that is known at one instant, frozen, and whether it is complete."""

from __future__ import annotations

from dataclasses import dataclass, field

from onehop.model.node import Link
from onehop.model.objects import Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The objects of the store and the links of the node that decides."""

    objects: Objects = field(default_factory=Objects)
    links: tuple[Link, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every kind was listed; until then nothing may shrink."""
        return self.objects.complete
