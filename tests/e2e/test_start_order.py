"""The order of start-up does not matter: every process waits for what it needs, says so, and goes on."""

from typing import Any

import pytest

from e2e.cluster import Api, Kubectl, automation, eventually

pytestmark = pytest.mark.disruptive

PROCESSES = ("operator", "dispatcher", "api")
SERVERS = ("postgresql", "rabbitmq")


def _scale(release: Kubectl, component: str, replicas: int) -> None:
    release("scale", f"statefulset/maestro-{component}", f"--replicas={replicas}")


def _pods(release: Kubectl, component: str) -> list[dict[str, Any]]:
    return release.list("pods", "-l", f"app.kubernetes.io/component={component}")


def _said(release: Kubectl, component: str) -> str:
    """All that the component's pods have logged, its init container included."""
    selector = f"app.kubernetes.io/component={component}"
    return release.run("logs", "-l", selector, "--all-containers", "--tail=200", "--ignore-errors").stdout


@pytest.mark.parametrize("server", SERVERS)
def test_processes_started_without_a_server_wait_for_it(
    server: str, release: Kubectl, kubectl: Kubectl, api: Api, name: str
) -> None:
    _scale(release, server, 0)
    try:
        eventually(lambda: not _pods(release, server), f"{server} is away", 120)
        for process in PROCESSES:
            release("delete", "pod", "-l", f"app.kubernetes.io/component={process}", "--timeout=120s")
        product = {"postgresql": "PostgreSQL", "rabbitmq": "RabbitMQ"}[server]
        for process in PROCESSES:
            eventually(
                lambda p=process: product in _said(release, p), f"the {process} says {product} is away", 90
            )
    finally:
        _scale(release, server, 1)
    for process in PROCESSES:
        release("rollout", "status", f"deployment/maestro-{process}", "--timeout=180s")
    kubectl.apply(automation(name, scriptPath="bots/late.py"))
    kubectl.wait_ready("automation", name, 120)
    restarts = [
        status["restartCount"]
        for process in PROCESSES
        for pod in _pods(release, process)
        for status in pod["status"].get("containerStatuses", [])
    ]
    assert max(restarts) == 0, "waiting is not crashing"
    automation_id = kubectl.get("automation", name)["status"]["id"]
    reply = eventually(lambda: _execute(api, automation_id), "execute is accepted", 60)
    assert reply == 202


def _execute(api: Api, automation_id: int) -> int | None:
    try:
        status = api.post(f"/automations/{automation_id}/execute", {}).status_code
    except OSError:
        return None
    return status if status == 202 else None
