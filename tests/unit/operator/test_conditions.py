"""Conditions keep to the Kubernetes API conventions."""

from datetime import UTC, datetime

from maestro_operator.conditions import Condition, find, merged

EARLY = datetime(2026, 1, 1, tzinfo=UTC)
LATE = datetime(2026, 1, 2, tzinfo=UTC)


def ready(status: str, reason: str = "R", message: str = "m") -> Condition:
    return Condition("Ready", status, reason, message)  # type: ignore[arg-type]


def test_the_first_time_is_the_transition() -> None:
    [condition] = merged([], [ready("True")], 3, EARLY)
    assert condition == {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "R",
        "message": "m",
    }


def test_only_a_new_status_is_a_transition() -> None:
    old = merged([], [ready("True")], 1, EARLY)
    [same] = merged(old, [ready("True", "Other", "words")], 2, LATE)
    assert (same["lastTransitionTime"], same["reason"]) == ("2026-01-01T00:00:00Z", "Other")
    [other] = merged(old, [ready("False")], 2, LATE)
    assert other["lastTransitionTime"] == "2026-01-02T00:00:00Z"


def test_nothing_new_is_the_same_list() -> None:
    old = merged([], [ready("True")], 1, EARLY)
    assert merged(old, [ready("True")], 1, LATE) == old


def test_conditions_of_others_stay() -> None:
    foreign = {"type": "Foreign", "status": "True", "lastTransitionTime": "t", "reason": "x", "message": ""}
    result = merged([foreign], [ready("True")], 1, EARLY)
    assert result[0] == foreign
    assert find(result, "Ready")["status"] == "True"
    assert find(result, "Absent") == {}


def test_a_long_message_is_cut() -> None:
    [condition] = merged([], [ready("False", "R", "x" * 100_000)], 1, EARLY)
    assert len(condition["message"]) <= 32768
