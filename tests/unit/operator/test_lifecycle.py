"""The start of a run of kopf, and what kopf is told."""

import itertools
import logging
from typing import Any

import kopf
import pytest
from kopf._cogs.clients import api

from maestro.errors import Forbidden
from maestro.kube import Kind
from maestro.settings import Settings
from maestro_operator.lifecycle import Lifecycle, configure


class AwayFor:
    """A session of kopf's whose requests fail so many times."""

    def __init__(self, times: int) -> None:
        self.failures = itertools.repeat(TimeoutError, times)

    async def request(self, **_: Any) -> Any:
        if failure := next(self.failures, None):
            raise failure
        return Answer()


class Answer:
    status = 200


class Context:
    """As much of kopf's connection as a request needs."""

    server = "http://nowhere"

    def __init__(self, session: AwayFor) -> None:
        self.session = session


async def test_kopf_asks_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(api.asyncio, "sleep", nap)
    for _ in range(2):
        await api.request.__wrapped__(  # type: ignore[attr-defined]
            "get",
            "/apis",
            settings=settings,
            context=Context(AwayFor(100)),
            logger=logging.getLogger(__name__),
        )
    # Each request begins anew with the short ones.
    assert naps[:100] == naps[100:]
    assert (naps[:3], naps[99], max(naps)) == ([1, 1, 2], 20, 20)


class Cluster:
    """What an API server says of Maestro's kinds, by namespace."""

    def __init__(self, **says: bool | Exception) -> None:
        self.says = says

    def serves(self, kind: Kind, namespace: str) -> bool:
        said = self.says[namespace]
        if isinstance(said, Exception):
            raise said
        return said


def lifecycle(namespaces: str) -> Lifecycle:
    return Lifecycle(
        Settings(database_uri="x", broker_uri="amqp://x", watch_namespaces=namespaces)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("says", "obstacle"),
    [
        ({"a": True}, ""),
        ({"a": False}, "install Maestro's CRDs"),
        ({"a": Forbidden("no grant")}, "no grant"),
        ({"a": Forbidden("no grant"), "b": True}, ""),
        ({"a": Forbidden("no grant"), "b": False}, "install Maestro's CRDs"),
    ],
)
async def test_what_keeps_the_kinds_from_being_watched(says: dict[str, Any], obstacle: str) -> None:
    found = await lifecycle(",".join(says))._obstacle(Cluster(**says))  # type: ignore[arg-type]
    assert found == obstacle if not obstacle else obstacle in found
