"""`migrate plan`: a store read as a whole, and the plan as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterable

from onehop.app.columns import table
from onehop.app.ports import Store
from onehop.app.stores import PATIENCE_SECONDS, complete_objects
from onehop.core.migrate import Fate, Outcome, Plan, plan
from onehop.model.reason import Problem

COLUMNS = ("SERVICE", "FATE", "BEFORE", "AFTER", "POOL", "REASON")


def migration_plan(
    store: Store, *, lb_class: str | None = None, patience: float = PATIENCE_SECONDS
) -> Plan:
    """The plan for what the store holds now.

    Raises:
        IncompleteError: when the store cannot be read as a whole.
    """
    return plan(complete_objects(store, patience=patience), lb_class=lb_class)


def document(found: Plan) -> dict[str, object]:
    """The plan as plain values."""
    return {
        "allStay": found.all_stay,
        "counts": counts(found),
        "services": [_service(each) for each in found.outcomes],
        "problems": [_problem(each) for each in found.problems],
    }


def counts(found: Plan) -> dict[str, int]:
    """How many Services meet each fate, those that nobody meets left out."""
    fates = [each.fate for each in found.outcomes]
    return {fate.value: fates.count(fate) for fate in Fate if fate in fates}


def in_words(found: Plan) -> list[str]:
    """The plan as a table, what is wrong beside it, and the sum of it."""
    lines = [table(COLUMNS, [_row(each) for each in found.outcomes])]
    lines += [f"note     {each.service}: {note}" for each in found.outcomes for note in each.notes]
    lines += [f"problem  {problem}" for problem in found.problems]
    total = ", ".join(f"{count} {fate}" for fate, count in counts(found).items())
    verdict = "nothing changes" if found.all_stay else "not everything stays as it is"
    return [*lines, f"{total or 'no Service of type LoadBalancer'}: {verdict}"]


def _row(each: Outcome) -> tuple[str, ...]:
    return (
        str(each.service),
        each.fate.value,
        _texts(each.before),
        _texts(each.after),
        each.pool or "-",
        "; ".join(map(str, each.reasons)) or "-",
    )


def _texts(addresses: Iterable[object]) -> str:
    return ",".join(map(str, addresses)) or "-"


def _service(each: Outcome) -> dict[str, object]:
    return {
        "namespace": each.service.namespace,
        "name": each.service.name,
        "fate": each.fate.value,
        "before": list(map(str, each.before)),
        "after": list(map(str, each.after)),
        "pool": each.pool,
        "reasons": [
            {"code": why.reason.code, "sentence": why.reason.sentence, "detail": why.detail}
            for why in each.reasons
        ],
        "notes": list(each.notes),
    }


def _problem(each: Problem) -> dict[str, object]:
    return {
        "source": each.source,
        "line": each.line,
        "object": each.object,
        "field": each.field,
        "code": each.reason.code,
        "severity": each.reason.severity.value,
        "detail": each.detail,
    }
