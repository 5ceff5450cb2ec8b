"""The worker's environment, and what it says when something is missing."""

import pytest
from pydantic import ValidationError

from maestro.worker.main import main
from maestro.worker.settings import WorkerSettings

COMPLETE = {
    "MAESTRO_API_URL": "http://api/api/v1/",
    "MAESTRO_WORKER_KEY": "secret-key",
    "MAESTRO_AMQP_URL": "amqp://user:secret-password@broker/maestro",
    "MAESTRO_QUEUE": "bots.invoices",
    "MAESTRO_SCRIPT": "/etc/maestro/script/bot.py",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("MAESTRO_MODULE", raising=False)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_what_the_operator_sets_is_enough(environment: pytest.MonkeyPatch) -> None:
    settings = WorkerSettings.model_validate({})
    assert settings.api_url == "http://api/api/v1"
    assert "secret" not in repr(settings)


def test_an_empty_variable_is_an_absent_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAESTRO_MODULE", "")
    assert WorkerSettings.model_validate({}).module is None


@pytest.mark.parametrize("value", ["bots.invoices", None])
def test_script_or_module_is_one_of_the_two(environment: pytest.MonkeyPatch, value: str | None) -> None:
    if value:
        environment.setenv("MAESTRO_MODULE", value)
    else:
        environment.delenv("MAESTRO_SCRIPT")
    with pytest.raises(ValidationError, match="one of them"):
        WorkerSettings.model_validate({})


def test_a_missing_variable_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("MAESTRO_QUEUE")
    environment.setenv("MAESTRO_LOG_LEVEL", "loud")
    assert main() == 2
    said = capsys.readouterr().err
    assert "set MAESTRO_QUEUE" in said
    assert "MAESTRO_LOG_LEVEL: Input should be" in said


def test_an_unreadable_broker_address_is_named_and_not_shown(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("MAESTRO_AMQP_URL", "amqp://user:hunter#2@broker/maestro")
    assert main() == 2
    said = capsys.readouterr().err
    assert "MAESTRO_AMQP_URL can't be read" in said
    assert "hunter" not in said
