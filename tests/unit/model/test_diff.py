"""From have to want: the steps, and growth before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onehop.model.diff import diff, grow, moved

tables = st.dictionaries(st.integers(0, 8), st.integers(0, 3))


@given(tables, tables)
def test_the_steps_turn_have_into_want(have: dict[int, int], want: dict[int, int]) -> None:
    steps = diff(have, want)
    after = {k: v for k, v in have.items() if k not in steps.remove}
    after |= dict(steps.add) | dict(steps.change)
    assert after == want
    assert not set(steps.add) & set(have)
    assert set(steps.change) <= set(have)


@given(tables)
def test_no_steps_when_nothing_changed(table: dict[int, int]) -> None:
    assert not diff(table, dict(table))


def test_a_difference_of_any_kind_is_true() -> None:
    assert diff({}, {1: "a"})
    assert diff({1: "a"}, {1: "b"})
    assert diff({1: "a"}, {})


def test_equal_but_not_identical_values_are_no_change() -> None:
    assert not diff({1: (1, 2)}, {1: (1, int("2"))})


@given(tables, tables)
def test_growth_loses_nothing_and_already_serves_what_is_wanted(
    have: dict[int, int], want: dict[int, int]
) -> None:
    grown = grow(have, want)
    assert set(grown) == set(have) | set(want)
    assert all(grown[key] == value for key, value in want.items())
    assert not diff(grown, want).add


class Named:
    """A value that names its key, as every object does."""

    def __init__(self, key: int) -> None:
        self.key = key


@given(
    st.lists(st.integers(0, 9), unique=True),
    st.lists(st.tuples(st.sampled_from(("drop", "put", "new")), st.integers(0, 9))),
)
def test_what_moved_is_told_by_identity(keys: list[int], edits: list[tuple[str, int]]) -> None:
    have = {key: Named(key) for key in keys}
    want = dict(have)
    for verb, key in edits:
        if verb == "drop":
            want.pop(key, None)
        else:
            moving = want.pop(key, None) if verb == "new" else None
            want[key] = moving or Named(key)
    gone, come = moved(have, want)
    assert gone == {k: v for k, v in have.items() if want.get(k) is not v}
    assert come == {k: v for k, v in want.items() if have.get(k) is not v}


def test_nothing_moved_between_a_mapping_and_itself() -> None:
    table = {1: Named(1)}
    assert moved(table, table) == ({}, {})
