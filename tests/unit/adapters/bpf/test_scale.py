"""Ten thousand Services: everything is held, one change touches one word, memory stays small.

Times are printed, not judged: `make bench` is where budgets are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[4]
SERVICES = 10_000
MEGABYTES = 250  # what a whole speaker may take, of which this is a part

MEASURE = f"""
import json, sys, time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.syscall import Map
from onehop.core.balance import ring
from onehop.model.desired import DatapathDesired
from tests.unit.adapters.bpf.wants import LOCAL, a_backend, a_frontend, wanted
want = wanted(*(
    a_frontend(str(IPv4Address(0x0B000000 + n)), a_backend(str(IPv4Address(0x0C000000 + n))),
               service=f"ns/s{{n}}", policy=LOCAL)
    for n in range({SERVICES})))
pins = Path(sys.argv[1])
datapath = Datapath(pins, ring=ring, capacity={{"flows": 1024}})
services = Map(syscall.pinned(pins / "services"), writable=False).memory()
begun = time.perf_counter()
first = datapath.sync(want)
cold = time.perf_counter() - begun
words = bytes(services)
key, (old,) = list(want.frontends.items())[4711]
new = replace(old, backends=(a_backend("10.99.99.99"),))
moved = DatapathDesired(frontends={{**want.frontends, key: (new,)}})
begun = time.perf_counter()
grown = datapath.sync(moved, shrink=False)
one = time.perf_counter() - begun
changed = {{n // 8 for n, (a, b) in enumerate(zip(words, services, strict=True)) if a != b}}
datapath.sync(moved)
rows = datapath.rows()
memory = next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]
print(json.dumps({{
    "first": first.changed, "failures": len(first.failures), "grown": grown.changed,
    "words": len(changed), "rows": len(rows), "megabytes": int(memory) // 1024,
    "cold_ms": round(cold * 1e3, 1), "one_change_ms": round(one * 1e3, 2)}}))
"""


def test_ten_thousand_services(node: None, pins: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(pins)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    print(done.stdout)
    seen = json.loads(done.stdout)
    assert (seen["first"], seen["failures"]) == (SERVICES, 0)
    assert (seen["grown"], seen["words"], seen["rows"]) == (1, 1, SERVICES)
    assert seen["megabytes"] <= MEGABYTES
