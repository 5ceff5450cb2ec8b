"""A thousand Automations at once, and an operator that restarts over them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from e2e.cluster import CONTEXT, NAMESPACE, Kubectl, automation, eventually
from maestro.kube import AUTOMATION, Kube

COUNT = 1_000
# The promise is 15 s on an idle machine; one that runs other things beside gets slack.
SECONDS = 45


@pytest.fixture(scope="module")
def kube() -> Kube:
    """Without kubectl, whose own throttle would take longer than what is measured."""
    configuration = Configuration()
    load_kube_config(context=CONTEXT, client_configuration=configuration)  # type: ignore[no-untyped-call]
    return Kube(configuration)


@pytest.fixture(scope="module")
def many(kube: Kube) -> Iterator[float]:
    """Seconds from the first apply until all are Ready."""
    names = [f"many-{number}" for number in range(COUNT)]
    with ThreadPoolExecutor(16) as threads:
        began = time.monotonic()
        list(threads.map(lambda name: kube.create(automation(name), manager="tests"), names))
        eventually(lambda: ready(kube) == COUNT, "all are Ready", 120, every=0.5)
        yield time.monotonic() - began
        list(threads.map(lambda name: kube.delete(AUTOMATION, NAMESPACE, name), names))


def versions(kube: Kube) -> dict[str, str]:
    found = kube.list(AUTOMATION, NAMESPACE)
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found}


def ready(kube: Kube) -> int:
    conditions = [
        condition
        for each in kube.list(AUTOMATION, NAMESPACE)
        if each["metadata"]["name"].startswith("many-")
        for condition in each.get("status", {}).get("conditions", [])
    ]
    return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_a_thousand_are_soon_ready(many: float) -> None:
    print(f"{COUNT} Automations were Ready {many:.1f} s after the first was applied")
    assert many < SECONDS


@pytest.mark.usefixtures("many")
def test_an_operator_restart_writes_nothing(kube: Kube, release: Kubectl) -> None:
    before = versions(kube)
    release("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--wait=true", "--timeout=90s")
    release("rollout", "status", "deployment/maestro-operator", "--timeout=120s")
    time.sleep(40)  # its first look at everything, and a sweep
    assert versions(kube) == before
