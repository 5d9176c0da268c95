"""What a sync changes, fails at and leaves alone; real clients are in tests/lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.linux.link import Links
from onehop.app.announcers import Announcers, difference
from onehop.lab import namespace
from onehop.model.address import Mac
from onehop.model.desired import Announcement, Report
from onehop.model.node import Link
from onehop.model.reason import Reason
from tests.lab.wire import Wire, eventually, wire

GHOST = Link(index=999, name="oh-l2-ghost", mac=Mac(b"\2\0\0\0\0\1"), up=True)


def want(*addresses: str, links: frozenset[str] | None = None) -> tuple[Announcement, ...]:
    return tuple(Announcement(address=ip_address(a), links=links) for a in addresses)


def on_loop(what: Callable[[Announcers], None]) -> None:
    """Run synchronous steps on a loop, as the speaker's round does."""

    async def steps() -> None:
        announcers = Announcers(on_fact=print)
        try:
            what(announcers)
        finally:
            announcers.close()

    asyncio.run(steps())


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path) as both:
        yield both


@pytest.fixture
def link(lan: Wire) -> Link:
    """The node's link once it is up and NDP can be spoken on it."""
    with namespace.entered(lan.root / "node"):
        links = Links()
        eventually(
            lambda: links.refresh() or links.links()[0],
            lambda _: links.links()[0].up and len(links.links()[0].addresses) == 3,
        )
        eventually(links.refresh, lambda changed: not changed)
    links.close()
    return links.links()[0]


def test_nothing_wanted_opens_nothing() -> None:
    def steps(announcers: Announcers) -> None:
        assert announcers.sync((), (GHOST,)) == Report()
        assert announcers.sync(want("192.0.2.100"), ()) == Report()
        assert announcers.counters() == {}

    on_loop(steps)


@pytest.mark.root
def test_a_link_that_cannot_be_opened_is_a_failure_to_try_again() -> None:
    def steps(announcers: Announcers) -> None:
        announcements = want("192.0.2.100")
        for _ in range(2):
            (failure,) = announcers.sync(announcements, (GHOST,)).failures
            assert failure.refusal.reason is Reason.LINK_FAILED
            assert failure.subject == "link oh-l2-ghost"
            assert failure.retry_at is not None
        assert announcers.sync((), ()).failures == ()

    on_loop(steps)


@pytest.mark.root
def test_one_bad_link_does_not_keep_another_from_being_served(lan: Wire, link: Link) -> None:
    def steps(announcers: Announcers) -> None:
        report = announcers.sync(want("192.0.2.100"), (GHOST, link))
        assert len(report.failures) == 1
        assert announcers.counters()["192.0.2.100"]["gratuitous_sent"] == 2

    with namespace.entered(lan.root / "node"):
        on_loop(steps)


@pytest.mark.root
def test_a_sync_changes_what_differs_and_nothing_else(lan: Wire, link: Link) -> None:
    def steps(announcers: Announcers) -> None:
        first = want("192.0.2.100", "192.0.2.101", "fd00::100")
        assert announcers.sync(first, (link,)).changed == 3
        assert announcers.sync(first, (link,)).changed == 0
        equal = want("192.0.2.100", "192.0.2.101", "fd00::100")
        assert announcers.sync(equal, (link,)).changed == 0
        moved = (equal[0], equal[2], *want("192.0.2.102"))
        assert announcers.sync(moved, (link,)).changed == 2
        counters = announcers.counters()
        assert set(counters) == {"192.0.2.100", "192.0.2.102", "fd00::100"}
        sent = {address: counts["gratuitous_sent"] for address, counts in counters.items()}
        assert sent == {"192.0.2.100": 2, "192.0.2.102": 2, "fd00::100": 1}

    with namespace.entered(lan.root / "node"):
        on_loop(steps)


@pytest.mark.root
@pytest.mark.parametrize(
    "other",
    [
        {"mac": Mac(b"\2\0\0\0\0\2")},
        {"carrier_changes": 99},
    ],
    ids=["another MAC", "a carrier that was lost"],
)
def test_a_link_that_is_another_one_hears_everything_again(
    lan: Wire, link: Link, other: dict[str, object]
) -> None:
    def steps(announcers: Announcers) -> None:
        announcements = want("192.0.2.100")
        announcers.sync(announcements, (link,))
        changed = replace(link, **other)
        assert announcers.sync(announcements, (changed,)).changed == 2
        assert announcers.counters()["192.0.2.100"]["gratuitous_sent"] == 2
        assert announcers.sync(announcements, (replace(changed, up=False),)).changed == 1
        assert announcers.counters() == {}

    with namespace.entered(lan.root / "node"):
        on_loop(steps)


@pytest.mark.root
def test_an_announcement_that_loses_a_link_goes_silent_there(lan: Wire, link: Link) -> None:
    def steps(announcers: Announcers) -> None:
        announcers.sync(want("192.0.2.100"), (link,))
        elsewhere = want("192.0.2.100", links=frozenset({"net7"}))
        assert announcers.sync(elsewhere, (link,)).changed == 1
        assert announcers.counters() == {}
        here = want("192.0.2.100", links=frozenset({"net7", "net0"}))
        assert announcers.sync(here, (link,)).changed == 1

    with namespace.entered(lan.root / "node"):
        on_loop(steps)


@given(
    st.lists(st.integers(0, 12), unique=True, max_size=12),
    st.lists(st.integers(0, 12), unique=True, max_size=12),
)
def test_a_difference_turns_what_was_into_what_is(have: list[int], wanted: list[int]) -> None:
    pool = want(*(f"192.0.2.{number}" for number in range(13)))
    before, after = tuple(pool[n] for n in have), tuple(pool[n] for n in wanted)
    gone, come = difference(before, after)
    assert {item.address for item in gone} == {pool[n].address for n in set(have) - set(wanted)}
    assert {item.address for item in come} == {pool[n].address for n in set(wanted) - set(have)}
