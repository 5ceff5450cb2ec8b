"""Broker addresses: read, or refused without a letter of the password."""

import traceback

import pytest

from maestro.broker.topology import Topology
from maestro.broker.uri import parameters_of
from maestro.errors import BadInput


@pytest.mark.parametrize(
    "password", ["hunter#2", "hunter/2", "hunter?2", "7#hunter", "7/hunter", "7?hunter", "[hunter"]
)
def test_an_unencoded_password_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(BadInput, match="MAESTRO_AMQP_URL can't be read") as refusal:
        parameters_of(f"amqp://maestro:{password}@broker:5672/maestro", "MAESTRO_AMQP_URL")
    assert "hunter" not in "".join(traceback.format_exception(refusal.value))
    assert refusal.value.__context__ is None


def test_an_encoded_one_is_read() -> None:
    read = parameters_of("amqp://maestro:hunter%232%2F@broker:5673/a%2Fb", "MAESTRO_AMQP_URL")
    assert (read.credentials.password, read.host, read.port) == ("hunter#2/", "broker", 5673)
    assert read.virtual_host == "a/b"


def test_the_topology_refuses_likewise() -> None:
    with pytest.raises(BadInput, match="MAESTRO_BROKER_URI"):
        Topology("amqp://maestro:hunter#2@broker")
