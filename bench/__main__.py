"""`python -m bench [NAME ...]`: run benches, print their tables, write build/bench/NAME.json.

Exit code 1 when a budget is missed. Nothing else heavy may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from rich.console import Console
from rich.table import Table

from bench.report import write_page
from bench.row import Row, judged, write

BENCHES = {
    "paths": (25, "the VIP against direct, kube-proxy and NodePort"),
    "shaped": (3, "three brokers behind links of 1 Gbit/s"),
    "program": (7, "nanoseconds of the BPF programs, by test-run"),
    "arp": (5, "ARP answers a second, and how fast"),
    "control": (200, "a changed file to the kernel's map and to the wire"),
    "decision": (9, "the decision at 10 000 services"),
    "bfd": (20, "BFD: a loss until the router moves, and ten minutes beside a busy speaker"),
    "bgp": (10, "three speakers to one router, until its kernel shows the next hops"),
    "kube": (100, "controllers on a real API server, ours and MetalLB's"),
    "kube_large": (2, "the same with 10 000 Services"),
    "kube_rest": (10, "what is asked of the API server while nothing happens"),
    "kube_speaker": (100, "an EndpointSlice written to an API server, to the wire and the kernel"),
    "kube_failover": (5, "a node or its speaker ends, until another has its addresses"),
    "kube_outage": (10, "the API server away for so many minutes, under traffic"),
}


def show(bench: str, rows: list[Row]) -> None:
    """The rows as a table for people."""
    table = Table(title=f"{bench}: {BENCHES[bench][1]}", title_justify="left")
    for column in ("what", "versus", "value", "unit", "budget", "", "behind it"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for row in rows:
        kept = "" if not row.budget else "ok" if row.ok else "MISSED"
        table.add_row(
            row.what, row.versus, f"{row.value:,g}", row.unit, row.budget, kept, row.note
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=["all"], choices=["all", *BENCHES])
    parser.add_argument("--rounds", type=int, help="instead of each bench's own number")
    options = parser.parse_args()
    names = list(BENCHES) if "all" in options.names else options.names
    missed = 0
    for name in names:
        measures = import_module(f"bench.{name}").run(options.rounds or BENCHES[name][0])
        rows = judged(name, measures)
        show(name, rows)
        print(f"wrote {write(name, rows)}")
        missed += sum(not row.ok for row in rows)
    print(f"wrote {write_page(list(BENCHES))}")
    if missed:
        print(f"{missed} budgets missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
