"""Every page under tests/conformance says what the machine does.

`UPDATE=1` rewrites the effects of all pages; the difference is to be reviewed like code.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.page import PROTOCOLS, played

CASES = sorted(Path(__file__).parent.glob("*/*.case"))


@pytest.mark.parametrize("case", CASES, ids=[f"{c.parent.name}/{c.stem}" for c in CASES])
def test_the_machine_does_what_the_page_says(case: Path) -> None:
    page = case.read_text()
    result = played(page)
    if os.environ.get("UPDATE"):
        case.write_text(result)
    assert page == result


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_pages_with_title_clause_and_machine(protocol: str) -> None:
    pages = [case.read_text() for case in CASES if case.parent.name == protocol]
    assert len(pages) >= 5
    for page in pages:
        words = [line.split()[0] for line in page.splitlines() if line][:3]
        assert words == ["title", "clause", "given"]
        assert f"given   {protocol} " in page


def test_a_page_with_a_wrong_effect_is_found() -> None:
    page = CASES[0].read_text()
    first = next(line for line in page.splitlines() if line.startswith("<"))
    assert played(page.replace(first, "< wake never", 1)) == page
    assert played(page) != page.replace(first, "< wake never", 1)
