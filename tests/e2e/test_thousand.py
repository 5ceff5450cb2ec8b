"""A thousand Automations at once, and an operator that is away and comes back over them."""

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pika
import pytest

from e2e import many
from e2e.cluster import NAMESPACE, Api, Kubectl, automation, eventually, queue_exists
from maestro.kube import AUTOMATION, Kube

pytestmark = pytest.mark.disruptive

NAMES = [f"many-{number}" for number in range(1_000)]
# The promise is 15 s on an idle machine; one that runs other things beside gets slack.
SECONDS = 45


@pytest.fixture(scope="module")
def kube() -> Kube:
    """Without kubectl, which sends one request after the other."""
    return Kube(many.configuration())


@pytest.fixture(scope="module")
def taken(kube: Kube) -> Iterator[many.Taken]:
    yield many.create(many.labeled(name) for name in NAMES)
    with ThreadPoolExecutor(many.CLIENTS) as clients:
        list(clients.map(lambda name: kube.delete(AUTOMATION, NAMESPACE, name), NAMES))


def the_thousand(kube: Kube) -> dict[str, dict[str, Any]]:
    """By name; what other tests left may still owe its status the figures of its runs."""
    found = {each["metadata"]["name"]: each for each in kube.list(AUTOMATION, NAMESPACE)}
    return {name: found[name] for name in NAMES}


def test_a_thousand_are_soon_ready(taken: many.Taken, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{len(NAMES)} Automations: {taken}")
    assert taken.ready < SECONDS


@dataclass(frozen=True)
class Restart:
    """What there was when the operator went, and the Automation that was deleted before it came back."""

    thousand: dict[str, dict[str, Any]]
    deleted: str
    deleted_id: int


@pytest.fixture(scope="module")
def restart(taken: many.Taken, kube: Kube, kubectl: Kubectl, release: Kubectl) -> Restart:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kubectl.apply(automation(name, queueName=name, deletionPolicy="Delete"))
    kubectl.wait_ready("automation", name)
    gone = Restart(the_thousand(kube), name, kubectl.get("automation", name)["status"]["id"])
    release("scale", "deployment/maestro-operator", "--replicas=0")
    try:
        release("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=operator", "--timeout=60s")
        kubectl("delete", "automation", name, "--timeout=30s")
    finally:
        release("scale", "deployment/maestro-operator", "--replicas=1")
    release("rollout", "status", "deployment/maestro-operator", "--timeout=120s")
    return gone


def test_an_operator_restart_writes_nothing(restart: Restart, kube: Kube) -> None:
    time.sleep(40)  # its first look at everything, and a sweep
    before, after = restart.thousand, the_thousand(kube)
    assert not [(before[name], after[name]) for name in NAMES if after[name] != before[name]]


def test_a_deletion_while_the_operator_is_down_is_found(
    restart: Restart, api: Api, broker: pika.BlockingConnection
) -> None:
    path = f"/automations/{restart.deleted_id}"
    eventually(lambda: api.get(path).status_code == 404, "its row retires", 120)
    eventually(lambda: not queue_exists(broker, restart.deleted), "its queue goes")
