"""Who may hold an address together, and the ledger of who does."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.sharing import Ledger, Share, compatible, number, sharing_refusal
from onehop.model.reason import Reason
from onehop.model.service import Key

ADDRESS = ip_address("192.0.2.7")
AT = number(ADDRESS)


def a_share(name: str, key: str = "k", backend: str = "", *ports: int, udp: bool = False) -> Share:
    return Share(
        key=Key("default", name),
        sharing_key=key,
        backend_key=backend,
        ports=frozenset(("UDP" if udp else "TCP", port) for port in ports),
    )


HTTP, TLS = a_share("a", "k", "", 80), a_share("b", "k", "", 443)
BOTH = a_share("a", "k", "", 80, 443), a_share("b", "k", "", 443, 80)
RULES = [
    pytest.param(HTTP, TLS, "", id="may share"),
    pytest.param(
        a_share("a", "k", "", 53),
        a_share("b", "k", "", 53, udp=True),
        "",
        id="one port, two protocols",
    ),
    pytest.param(a_share("a"), a_share("b"), "", id="no ports at all"),
    pytest.param(a_share("a", ""), a_share("b", ""), "is held by", id="no key on either"),
    pytest.param(HTTP, a_share("b", "", "", 443), "is not its ''", id="holder has no key"),
    pytest.param(a_share("a", "j"), TLS, "'j' is not its 'k'", id="keys differ"),
    pytest.param(a_share("a", "k", "x=1", 80), TLS, "policy Local", id="Local and Cluster"),
    pytest.param(*BOTH, "both serve TCP/80, TCP/443", id="ports meet"),
]


@pytest.mark.parametrize(("one", "other", "why"), RULES)
def test_rules_of_sharing(one: Share, other: Share, why: str) -> None:
    assert compatible(one, other) is (not why)
    assert compatible(other, one) is (not why)
    if why:
        refusal = sharing_refusal(one, other, ADDRESS)
        assert refusal.reason is (
            Reason.SHARING_REFUSED if one.sharing_key else Reason.ADDRESS_IN_USE
        )
        assert why in str(refusal)
        assert "default/b" in str(refusal)


def test_families_never_meet() -> None:
    assert number(ip_address("0.0.0.1")) != number(ip_address("::1"))


def test_the_holder_that_objects_is_the_first_by_key() -> None:
    ledger = Ledger()
    for holder in (a_share("z", "k", "", 80), a_share("m", "k", "", 81), a_share("a", "k", "", 9)):
        ledger.claim(holder, [AT])
    asking = a_share("new", "k", "", 80, 81)
    assert not ledger.admits(AT, asking)
    assert ledger.holder_against(AT, asking) == a_share("m", "k", "", 81)
    assert ledger.holder_against(AT, a_share("new", "k", "", 7)) is None


def test_nobody_stands_in_their_own_way() -> None:
    ledger = Ledger()
    ledger.claim(a_share("a", ""), [AT])
    assert ledger.admits(AT, a_share("a", "k"))
    assert ledger.holder_against(AT, a_share("a", "k")) is None


def test_a_released_address_is_free_when_its_last_holder_left() -> None:
    ledger = Ledger()
    one, other, alone = a_share("a", "k", "", 1), a_share("b", "k", "", 2), a_share("c", "")
    ledger.claim(one, [AT])
    ledger.claim(other, [AT])
    ledger.claim(alone, [AT + 1])
    ledger.release(one, [AT])
    assert ledger.held[AT] == (other,)
    assert ledger.groups["k", ""] == {AT}
    ledger.release(other, [AT])
    ledger.release(alone, [AT + 1])
    assert not ledger.held
    assert ledger.groups["k", ""] == set()


def test_a_release_moves_the_start_of_the_search_back() -> None:
    ledger = Ledger()
    share = a_share("a", "")
    ledger.claim(share, [AT])
    ledger.lowest = {AT - 5: AT + 1, AT - 4: AT, AT + 1: AT + 3}
    ledger.release(share, [AT])
    assert ledger.lowest == {AT - 5: AT, AT - 4: AT, AT + 1: AT + 3}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30))
def test_the_ledger_is_empty_after_all_is_released(entries: list[tuple[int, int]]) -> None:
    ledger = Ledger()
    shares = [(a_share(str(index), "k"), [where]) for index, (where, _) in enumerate(entries)]
    for share, numbers in shares:
        ledger.claim(share, numbers)
    for share, numbers in sorted(shares, key=lambda entry: entry[0].key):
        ledger.release(share, numbers)
    assert ledger.held == {}
    assert not any(ledger.groups.values())
