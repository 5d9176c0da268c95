"""From have to want: the steps, and growth before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.diff import Edition, diff, edited, grow, moved

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


edits = st.dictionaries(st.integers(0, 9), st.none() | st.builds(Named, st.integers(0, 9)))


@given(st.lists(st.integers(0, 9), unique=True), edits, edits)
def test_an_edition_tells_what_moved_since_the_one_it_was_made_from(
    keys: list[int], first: dict[int, Named | None], second: dict[int, Named | None]
) -> None:
    have = edited({key: Named(key) for key in keys}, first)
    want = edited(have, second)
    gone, come = moved(have, want)
    assert gone == {k: v for k, v in have.items() if want.get(k) is not v}
    assert come == {k: v for k, v in want.items() if have.get(k) is not v}


def test_an_edition_knows_nothing_of_what_it_was_not_made_from() -> None:
    first = edited({}, {1: "a"})
    second = edited(first, {2: "b"})
    third = edited(second, {1: None})
    assert isinstance(third, Edition)
    assert third.since(first) is None
    assert third.since(dict(second)) is None
    assert third.since(second) == (1,)
    assert moved(first, third)[1] == {2: "b"}


def test_edits_that_change_nothing_give_the_identical_mapping() -> None:
    have = edited({}, {1: (1, 2)})
    assert edited(have, {1: (1, int("2")), 3: None}) is have
    assert edited(have, {2: (3,)})[1] is have[1]


def test_an_entry_that_is_edited_keeps_its_place() -> None:
    have = edited({}, {1: "a", 2: "b", 3: "c"})
    assert list(edited(have, {1: "d", 2: None, 4: "e"}).items()) == [(1, "d"), (3, "c"), (4, "e")]


def test_an_edition_is_never_written_to() -> None:
    have = edited({}, {1: "a"})
    assert isinstance(have, Edition)
    for write in (
        lambda: have.__setitem__(2, "b"),
        lambda: have.__delitem__(1),
        lambda: have.update({2: "b"}),
        lambda: have.pop(1),
        lambda: have.popitem(),
        lambda: have.clear(),
        lambda: have.setdefault(2, "b"),
        lambda: have.__ior__({2: "b"}),
    ):
        with pytest.raises(TypeError, match="never changed"):
            write()
    assert have == {1: "a"}
