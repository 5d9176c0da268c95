"""How often somebody else's addresses are replaced."""

from __future__ import annotations

from ipaddress import ip_address

from onehop.adapters.kube.contest import Contests
from onehop.adapters.kube.structs import Ingress, Live
from onehop.model.desired import ServiceStatus
from onehop.model.service import Key

KEY = Key("shop", "web")
OURS = ServiceStatus(key=KEY, addresses=(ip_address("192.0.2.1"),), pool="a")


def a_live(*addresses: str) -> Live:
    ingress = tuple(Ingress(ip=each, ip_mode="VIP") for each in addresses)
    return Live(name="web", namespace="shop", uid="u", resource_version="1", ingress=ingress)


def test_the_first_three_are_put_right_at_once_and_then_more_and_more_seldom() -> None:
    contests, now, spans = Contests(), 100.0, []
    for _ in range(12):
        due = contests.wait(KEY, a_live("198.51.100.1"), OURS, now)
        spans.append(0.0 if due is None else due - now)
        now = now if due is None else due
        assert contests.wait(KEY, a_live("198.51.100.1"), OURS, now) is None
        contests.sent(KEY, a_live("198.51.100.1"), OURS, now)
    assert spans == [0.0, 0.0, 0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0, 64.0]


def test_what_contradicts_nobody_never_waits() -> None:
    contests = Contests()
    for live in (a_live(), a_live("192.0.2.1")):
        for _ in range(9):
            assert contests.wait(KEY, live, OURS, 1.0) is None
            contests.sent(KEY, live, OURS, 1.0)
    assert contests.wait(KEY, a_live("198.51.100.1"), OURS, 1.0) is None


def test_it_is_forgotten_when_it_was_quiet_and_with_the_service() -> None:
    contests = Contests()

    def fight() -> None:
        for _ in range(5):
            contests.sent(KEY, a_live("198.51.100.1"), OURS, 1.0)
        assert contests.wait(KEY, a_live("198.51.100.1"), OURS, 1.5) is not None

    fight()
    assert contests.wait(KEY, a_live("198.51.100.1"), OURS, 200.0) is None
    fight()
    contests.forget(KEY)
    assert contests.wait(KEY, a_live("198.51.100.1"), OURS, 1.5) is None
    fight()
    contests.forget()
    assert contests.wait(KEY, a_live("198.51.100.1"), OURS, 1.5) is None


def test_our_own_addresses_contradict_nobody_however_often_they_change() -> None:
    contests, live = Contests(), a_live()
    for last in (1, 2, 3, 1, 2, 3, 4, 5, 6):
        address = f"192.0.2.{last}"
        status = ServiceStatus(key=KEY, addresses=(ip_address(address),), pool="a")
        for _ in range(3):  # two of them in vain: somebody edits the Service all the time
            assert contests.wait(KEY, live, status, 1.0) is None
            contests.sent(KEY, live, status, 1.0)
        live = a_live(address)
    contests.sent(KEY, a_live("198.51.100.1"), OURS, 1.0)
    assert contests.wait(KEY, a_live("198.51.100.1"), OURS, 1.0) is None, "the first of others"
