"""What the operator remembers of resources."""

from typing import Any

from maestro.kube import AUTOMATION, SCHEDULE
from maestro_operator.keys import Key
from maestro_operator.seen import Seen

KEY = Key(AUTOMATION, "bots", "a")


def body(version: int, uid: str = "u1") -> dict[str, Any]:
    return {"metadata": {"namespace": "bots", "name": "a", "uid": uid, "resourceVersion": str(version)}}


def test_the_newest_body_stays() -> None:
    seen = Seen()
    seen.put(KEY, body(10))
    seen.put(KEY, body(9))
    assert seen.get(KEY) == body(10)
    seen.put(KEY, body(100))
    assert seen.get(KEY) == body(100)


def test_an_old_list_does_not_bring_back_what_ended() -> None:
    seen = Seen()
    seen.put(KEY, body(1))
    seen.end(KEY, "u1")
    seen.put(KEY, body(1))
    assert seen.get(KEY) is None
    seen.put(KEY, body(2, "u2"))
    assert seen.get(KEY) == body(2, "u2")


def test_the_end_of_an_old_one_leaves_its_namesake() -> None:
    seen = Seen()
    seen.put(KEY, body(2, "u2"))
    seen.end(KEY, "u1")
    assert seen.get(KEY) == body(2, "u2")


def test_kinds_are_kept_apart() -> None:
    seen = Seen()
    seen.put(KEY, body(1))
    assert [key for key, _ in seen.of_kind(AUTOMATION)] == [KEY]
    assert list(seen.of_kind(SCHEDULE)) == []
