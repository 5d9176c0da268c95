"""How a refusal and a problem read to a person."""

from __future__ import annotations

from onehop.model.reason import Problem, Reason, Refusal, Severity


def test_a_refusal_reads_code_sentence_detail() -> None:
    refusal = Refusal(reason=Reason.POOL_EXHAUSTED, detail="pool bro")
    assert str(refusal) == "PoolExhausted: no address is free in the pools it may use (pool bro)"


def test_a_refusal_without_detail_ends_with_its_sentence() -> None:
    assert str(Refusal(reason=Reason.NO_POOLS)) == "NoPools: there is no IPAddressPool"


def test_a_problem_names_file_line_object_and_field() -> None:
    problem = Problem(
        source="pools.yaml",
        line=12,
        object="IPAddressPool bro",
        field="spec.addresses[0]",
        reason=Reason.FIELD_INVALID,
        detail="'x' is no range",
    )
    assert str(problem) == (
        "pools.yaml:12: IPAddressPool bro spec.addresses[0]: 'x' is no range [FieldInvalid]"
    )


def test_a_problem_of_no_known_line_or_source_leaves_them_out() -> None:
    def problem(source: str) -> Problem:
        return Problem(
            source=source,
            line=0,
            object="Service bro/kafka-0",
            field="",
            reason=Reason.UNKNOWN_POOL,
            detail="no pool x",
        )

    assert str(problem("a.yaml")) == "a.yaml: Service bro/kafka-0: no pool x [UnknownPool]"
    assert str(problem("")) == "Service bro/kafka-0: no pool x [UnknownPool]"


def test_a_problem_of_a_whole_file_names_no_object() -> None:
    problem = Problem(
        source="a.yaml",
        line=3,
        object="",
        field="",
        reason=Reason.MANIFEST_UNREADABLE,
        detail="a key stands twice",
    )
    assert str(problem) == "a.yaml:3: a key stands twice [ManifestUnreadable]"


def test_every_reason_has_a_severity_and_a_code_in_kubernetes_form() -> None:
    for reason in Reason:
        assert reason.severity in Severity
        assert reason.code[0].isupper()
        assert reason.code.isalnum()
