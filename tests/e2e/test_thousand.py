"""A thousand Automations at once, and an operator that restarts over them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from e2e import many
from e2e.cluster import NAMESPACE, Kubectl
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


@pytest.mark.usefixtures("taken")
def test_an_operator_restart_writes_nothing(kube: Kube, release: Kubectl) -> None:
    before = the_thousand(kube)
    release("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--wait=true", "--timeout=90s")
    release("rollout", "status", "deployment/maestro-operator", "--timeout=120s")
    time.sleep(40)  # its first look at everything, and a sweep
    written = [(before[name], after) for name, after in the_thousand(kube).items() if after != before[name]]
    assert not written
