"""Which queues can be had."""

from typing import Any

import pytest

from maestro.broker.queues import refuse_unusable
from maestro.errors import SpecRefused

CONTRACT = {"x-dead-letter-exchange": "maestro.dlx"}


@pytest.mark.parametrize("name", ["automation_jobs", "bots.a", "maestro.invoices", "maestro.dlx", "é" * 127])
@pytest.mark.parametrize("arguments", [{}, CONTRACT, CONTRACT | {"x-max-priority": 5}])
def test_what_can_be_had(name: str, arguments: dict[str, Any]) -> None:
    refuse_unusable(name, arguments)


@pytest.mark.parametrize(
    ("name", "words"),
    [("amq.mine", "RabbitMQ's own"), ("é" * 128, "256"), ("maestro.dlq", "dead letters")],
)
def test_names_that_cannot(name: str, words: str) -> None:
    with pytest.raises(SpecRefused, match=words) as refused:
        refuse_unusable(name, CONTRACT)
    assert (refused.value.reason, refused.value.condition) == ("QueueRefused", "QueueReady")
    assert "apply it again" in refused.value.message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x-dead-letter-exchange": ""}, "can only be maestro.dlx"),
        ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "other.a"}, "can only be maestro.dlx"),
        ({"x-dead-letter-exchange": "amq.direct"}, "can only be maestro.dlx"),
        (CONTRACT | {"x-dead-letter-routing-key": "other.a"}, "x-dead-letter-routing-key"),
        ({"x" * 300: 1}, "can't be sent"),
    ],
)
def test_arguments_that_cannot(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecRefused, match=words):
        refuse_unusable("q", arguments)
