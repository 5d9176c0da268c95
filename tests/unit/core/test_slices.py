"""Slices by Service: the same from edit to edit as from nothing."""

from hypothesis import given
from hypothesis import strategies as st

from onehop.core.slices import SliceIndex
from onehop.model.service import EndpointSlice, Key
from tests.builders import a_slice, an_endpoint

edits = st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 3))))


@given(edits)
def test_index_follows_every_edit(steps: list[tuple[int, int | None]]) -> None:
    index = SliceIndex()
    slices: dict[Key, EndpointSlice] = {}
    for number, service in steps:
        before = {f"s{i}": index.of(Key("default", f"s{i}")) for i in range(4)}
        slices = dict(slices)
        name = f"slice-{number}"
        if service is None:
            slices.pop(Key("default", name), None)
        else:
            end = an_endpoint("10.0.0.1", "node0")
            slices[Key("default", name)] = a_slice(f"s{service}", end, name=name)
        touched = index.replace(slices)
        for i in range(4):
            key = Key("default", f"s{i}")
            want = sorted((s for s in slices.values() if s.service == key), key=lambda s: s.key)
            assert list(index.of(key)) == want
            if before[key.name] != index.of(key):
                assert key in touched


def test_same_slices_touch_nothing() -> None:
    index = SliceIndex()
    slices = {Key("default", "x"): a_slice("web", name="x")}
    assert index.replace(slices) == {Key("default", "web")}
    assert index.replace(slices) == set()
    assert index.replace(dict(slices)) == set()
