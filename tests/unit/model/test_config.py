"""Label selectors, with the semantics of meta/v1."""

from __future__ import annotations

import pytest

from onehop.model.config import LabelSelector, Operator, Requirement, any_matches

ZONE = {"zone": "a", "disk": "ssd"}

REQUIREMENTS = {
    "In, held": (Operator.IN, "zone", {"a", "b"}, True),
    "In, another value": (Operator.IN, "zone", {"b"}, False),
    "In, no such label": (Operator.IN, "rack", {"a"}, False),
    "NotIn, another value": (Operator.NOT_IN, "zone", {"b"}, True),
    "NotIn, held": (Operator.NOT_IN, "zone", {"a"}, False),
    "NotIn, no such label": (Operator.NOT_IN, "rack", {"a"}, True),
    "Exists": (Operator.EXISTS, "disk", set(), True),
    "Exists, no such label": (Operator.EXISTS, "rack", set(), False),
    "DoesNotExist": (Operator.DOES_NOT_EXIST, "rack", set(), True),
    "DoesNotExist, held": (Operator.DOES_NOT_EXIST, "disk", set(), False),
}


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"), REQUIREMENTS.values(), ids=REQUIREMENTS
)
def test_a_requirement(operator: Operator, key: str, values: set[str], expected: bool) -> None:
    requirement = Requirement(key=key, operator=operator, values=frozenset(values))
    assert requirement.matches(ZONE) is expected


def test_an_empty_selector_matches_every_object() -> None:
    assert LabelSelector().matches({})
    assert LabelSelector().matches(ZONE)


def test_labels_and_expressions_must_all_hold() -> None:
    ssd = Requirement(key="disk", operator=Operator.IN, values=frozenset({"ssd"}))
    selector = LabelSelector(match_labels={"zone": "a"}, match_expressions=(ssd,))
    assert selector.matches(ZONE)
    assert not selector.matches({"zone": "b", "disk": "ssd"})
    assert not selector.matches({"zone": "a", "disk": "hdd"})


def test_selectors_beside_each_other_are_alternatives_and_none_at_all_matches_nothing() -> None:
    a, b = (LabelSelector(match_labels={"zone": zone}) for zone in "ab")
    assert any_matches((a, b), ZONE)
    assert not any_matches((b,), ZONE)
    assert not any_matches((), ZONE)
