"""`enum reason` of the datapath and the project's own list of refusals are one list."""

from __future__ import annotations

import re
from pathlib import Path

from onehop.model.reason import DATAPATH

HEADER = Path(__file__).resolve().parents[2] / "bpf" / "reason.h"


def members() -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    body = re.search(r"enum reason \{(.*?)\}", text, re.DOTALL)
    assert body is not None
    return [part.split("=")[0].strip() for part in body[1].split(",") if part.strip()]


def test_names_and_order_are_the_same() -> None:
    first, *names, last = members()
    assert (first, last) == ("CONTINUE", "REASONS")
    assert names == [reason.name for reason in DATAPATH]


def test_what_only_passes_comes_last() -> None:
    names = members()
    found = re.search(r"#define FIRST_PASSED (\w+)", HEADER.read_text())
    assert found is not None
    passed = names[names.index(found[1]) : -1]
    assert passed == ["FRAGMENT", "IPV4_OPTIONS", "EXTENSION_HEADER", "MALFORMED"]
