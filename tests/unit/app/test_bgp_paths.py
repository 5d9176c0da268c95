"""The paths that BGP sessions depend on: which BFD watches, and what becomes of its facts."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from onehop.adapters.telemetry import Log
from onehop.app.bgp_paths import Paths, path_of
from onehop.model.address import IPAddress, Mac
from onehop.model.bgp import BFDProfile
from onehop.model.node import Link
from onehop.model.service import Key
from onehop.proto.bfd.packet import Diagnostic
from onehop.proto.bfd.session import Path, PathDown, PathUp
from tests.fakes.bgp_far import wanted

PATH = Path(peer=ip_address("192.0.2.9"))


class Case:
    """Paths that nothing is asked of, and what they tell."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.log = io.StringIO()
        self.lost: list[tuple[IPAddress, str]] = []
        self.changes = 0
        self.paths = Paths(
            log=Log(stream=self.log, quiet=0.0),
            on_down=lambda address, why: self.lost.append((address, why)),
            on_change=self._changed,
            loop=loop,
        )

    def _changed(self) -> None:
        self.changes += 1


def tell(fact: PathUp | PathDown) -> Case:
    async def on_loop() -> Case:
        case = Case(asyncio.get_running_loop())
        case.paths.changed(fact)
        case.paths.close()
        return case

    return asyncio.run(on_loop())


def test_a_lost_path_is_told_to_the_session() -> None:
    case = tell(PathDown(path=PATH, diagnostic=Diagnostic.DETECTION_TIME_EXPIRED))
    why = "BFD: nothing was heard for the detection time"
    assert case.lost == [(PATH.peer, why)]
    assert "bfd-down" in case.log.getvalue()
    assert case.changes == 1


def test_a_path_that_is_switched_off_or_works_ends_no_session() -> None:
    off = Diagnostic.ADMINISTRATIVELY_DOWN
    silent = tell(PathDown(path=PATH, diagnostic=off, is_administrative=True))
    up = tell(PathUp(path=PATH))
    assert (silent.lost, up.lost) == ([], [])
    assert (silent.changes, up.changes) == (1, 1)
    assert "bfd-up" in up.log.getvalue()


def test_a_peer_without_a_profile_has_no_words() -> None:
    async def on_loop() -> str:
        case = Case(asyncio.get_running_loop())
        case.paths.sync([wanted()], ())
        return case.paths.words("router")

    assert asyncio.run(on_loop()) == ""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"host": "192.0.2.9"}, {"peer": "192.0.2.9"}),
        ({"host": "203.0.113.9"}, {"peer": "203.0.113.9", "multihop": True}),
        ({"host": "192.0.2.9", "ebgp_multihop": True}, {"peer": "192.0.2.9", "multihop": True}),
        ({"host": "fe80::9", "link": "eth0"}, {"peer": "fe80::9", "link": "eth0"}),
    ],
)
def test_bfd_watches_one_hop_or_several(
    more: dict[str, object], expected: dict[str, object]
) -> None:
    link = Link(
        index=2,
        name="eth0",
        mac=Mac.parse("02:00:00:00:00:01"),
        up=True,
        addresses=(ip_interface("192.0.2.1/24"),),
    )
    profile = BFDProfile(key=Key("metallb-system", "fast"))
    desired = replace(wanted(**more), bfd=profile)  # type: ignore[arg-type]
    found = path_of(desired, (link,))
    assert found == Path(**{**expected, "peer": ip_address(str(expected["peer"]))})  # type: ignore[arg-type]
