"""`pool list` as a table and as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from onehop.app.columns import table
from onehop.core.forecast import PoolForecast, forecasts
from onehop.model.address import Family
from onehop.model.objects import Objects

COLUMNS = ("POOL", "ADDRESSES", "USED", "FREE", "TOTAL", "SERVICES", "AUTO", "FULL IN", "PROBLEM")
_FAR = 3650.0  # days beyond which a forecast says nothing


def pool_forecasts(objects: Objects) -> tuple[PoolForecast, ...]:
    """How full the pools are now, and for how long they last."""
    return forecasts(objects, datetime.now(UTC))


def pool_table(pools: Iterable[PoolForecast]) -> str:
    """One line for each family that a pool has."""
    return table(COLUMNS, [row for pool in pools for row in _rows(pool)])


def _rows(each: PoolForecast) -> list[tuple[str, ...]]:
    families = [family for family in Family if each.usage.capacity[family]] or [Family.IPV4]
    rows: list[tuple[str, ...]] = []
    for family in families:
        ranges = ",".join(one.text for one in each.pool.ranges if one.family is family)
        first = family is families[0]
        rows.append(
            (
                each.pool.key.name if first else "",
                ranges,
                str(each.usage.used[family]),
                str(each.usage.free(family)),
                str(each.usage.capacity[family]),
                str(each.usage.services) if first else "",
                ("yes" if each.pool.auto_assign else "no") if first else "",
                _span(each.days_left) if first else "",
                each.refused if first else "",
            )
        )
    return rows


def _span(days: float | None) -> str:
    if days is None or days > _FAR:
        return "-"
    return f"{days * 24:.0f} h" if days < 2 else f"{days:.0f} d"


def pool_document(pools: Iterable[PoolForecast]) -> list[dict[str, object]]:
    """The same for programs."""
    return [
        {
            "name": each.pool.key.name,
            "namespace": each.pool.key.namespace,
            "addresses": [one.text for one in each.pool.ranges],
            "autoAssign": each.pool.auto_assign,
            "services": each.usage.services,
            "families": {
                family.value: {
                    "used": each.usage.used[family],
                    "free": each.usage.free(family),
                    "total": each.usage.capacity[family],
                }
                for family in Family
                if each.usage.capacity[family]
            },
            "daysLeft": None if each.days_left is None else round(each.days_left, 2),
            "problem": each.refused or None,
        }
        for each in pools
    ]
