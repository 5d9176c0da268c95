"""`onehop service list` as text and as plain values, from the kernel's rows alone.

The default table is laid out as `cilium service list` lays out its own: columns as wide as their
longest cell and three spaces, the last one too. A port without a protocol is TCP.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.tables import Row, Statistics, Tables
from onehop.model.address import IPAddress, host_port
from onehop.model.service import (
    Backend,
    BackendState,
    Frontend,
    FrontendKind,
    Key,
    Protocol,
    TrafficPolicy,
)

_PADDING = 3
_NARROWEST = 5
_COLUMNS = ("ID", "Frontend", "Service Type", "Backend")
_WIDE_COLUMNS = (
    "ID",
    "Frontend",
    "Service Type",
    "Service",
    "Policy",
    "Mode",
    "Local/Total",
    "Packets",
    "Bytes",
    "Flows",
    "Drops",
    "Backend",
)


def service_rows(bpf_dir: Path) -> tuple[Row, ...]:
    """The rows of the service table pinned in `bpf_dir`."""
    tables = Tables.open(bpf_dir)
    try:
        return tables.rows()
    finally:
        tables.close()


def service_page(bpf_dir: Path) -> str:
    """The same for programs, as a page; what cannot be read is an empty one."""
    try:
        rows = service_rows(bpf_dir)
    except DatapathError:
        rows = ()
    return json.dumps(document(rows))


def _socket(address: IPAddress, port: int, protocol: Protocol) -> str:
    text = host_port(address, port)
    return text if protocol is Protocol.TCP else f"{text}/{protocol.value}"


def _backend(position: int, backend: Backend, protocol: Protocol) -> str:
    socket = _socket(backend.address, backend.port, protocol)
    return f"{position} => {socket} ({backend.state.value})"


def _local(row: Row) -> int:
    return sum(each.local for each in row.backends)


def _cells(row: Row, *, wide: bool) -> list[str]:
    frontend = row.frontend
    cells = [
        str(row.id),
        _socket(frontend.address, frontend.port, frontend.protocol),
        frontend.kind.value,
    ]
    if wide:
        counted = row.statistics
        cells += [
            str(row.service),
            row.policy.value,
            row.mode,
            f"{_local(row)}/{row.total}",
            str(counted.packets),
            str(counted.bytes),
            str(counted.flows),
            str(counted.drops),
        ]
    return cells


def _lines(row: Row, *, wide: bool) -> list[list[str]]:
    """One line with the first backend, then one for each further, its other cells empty."""
    first = _cells(row, wide=wide)
    protocol = row.frontend.protocol
    backends = [_backend(n, each, protocol) for n, each in enumerate(row.backends, 1)] or [""]
    blank = [""] * len(first)
    return [[*(blank if number else first), text] for number, text in enumerate(backends)]


def table(rows: Iterable[Row], *, wide: bool = False) -> str:
    """The service table of one node, for people."""
    lines: list[Sequence[str]] = [_WIDE_COLUMNS if wide else _COLUMNS]
    for row in rows:
        lines += _lines(row, wide=wide)
    return _aligned(lines)


def node_table(rows: Mapping[str, Iterable[Row]], *, wide: bool = False) -> str:
    """The service tables of several nodes, the node's name in front."""
    lines: list[Sequence[str]] = [("Node", *(_WIDE_COLUMNS if wide else _COLUMNS))]
    for node, found in rows.items():
        for row in found:
            first, *more = _lines(row, wide=wide)
            lines += [[node, *first], *(["", *each] for each in more)]
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [
        max(_NARROWEST, *(len(cell) + _PADDING for cell in column))
        for column in zip(*lines, strict=True)
    ]
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def document(rows: Iterable[Row]) -> list[dict[str, object]]:
    """The service table for programs: every fact of `-o wide`, as plain values."""
    return [_record(row) for row in rows]


def _record(row: Row) -> dict[str, object]:
    frontend, counted = row.frontend, row.statistics
    return {
        "id": row.id,
        "frontend": {
            "address": str(frontend.address),
            "port": frontend.port,
            "protocol": frontend.protocol.value,
        },
        "type": frontend.kind.value,
        "service": {"namespace": row.service.namespace, "name": row.service.name},
        "policy": row.policy.value,
        "mode": row.mode,
        "local": _local(row),
        "total": row.total,
        "backends": [
            {
                "address": str(each.address),
                "port": each.port,
                "state": each.state.value,
                "local": each.local,
            }
            for each in row.backends
        ],
        "counters": {
            "packets": counted.packets,
            "bytes": counted.bytes,
            "flows": counted.flows,
            "drops": counted.drops,
        },
    }


def rows_of(records: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """The rows that `document` was made of, as another node tells them.

    Raises:
        ValueError: when they are not such.
    """
    try:
        return tuple(map(_row, records))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no service table: {error!r}") from None


def _row(record: Mapping[str, Any]) -> Row:
    frontend, service = record["frontend"], record["service"]
    backends = tuple(
        Backend(
            address=ip_address(each["address"]),
            port=each["port"],
            local=each["local"],
            state=BackendState(each["state"]),
        )
        for each in record["backends"]
    )
    modes = record["mode"].split("+")
    local = sum(each.local for each in backends)
    return Row(
        id=record["id"],
        frontend=Frontend(
            address=ip_address(frontend["address"]),
            port=frontend["port"],
            protocol=Protocol(frontend["protocol"]),
            kind=FrontendKind(record["type"]),
        ),
        service=Key(service["namespace"], service["name"]),
        policy=TrafficPolicy(record["policy"]),
        total=record["total"],
        backends=backends,
        # How many of the local ones are fast is told only as far as the mode tells it.
        fast=0 if "fast" not in modes else local - ("stack" in modes),
        statistics=Statistics(**record["counters"]),
    )
