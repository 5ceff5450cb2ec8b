"""The pods of an Automation's worker: restricted, rolled, gone with it, explained when they don't come up."""

import uuid
from typing import Any

import pytest

from e2e.cluster import Kubectl, automation, eventually, scripted, wait_reason

IDLE = """
def run(parameters, context):
    return {}
"""
NO_SECRET = {"secretKeyRef": {"name": "no-such", "key": "k"}}
NEVER_UP: dict[str, tuple[dict[str, Any], str]] = {
    "WorkerUnschedulable": ({"script": IDLE, "nodeSelector": {"no": "such-node"}}, "node"),
    "ImagePullFailed": ({"image": "registry.invalid/nothing:1"}, "registry.invalid/nothing:1"),
    "ContainerRefused": ({"script": IDLE, "env": [{"name": "A", "valueFrom": NO_SECRET}]}, "no-such"),
    "CrashLooping": ({"command": ["false"]}, "kubectl logs --previous"),
}


def test_a_worker_runs_restricted_and_goes_with_its_spec(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(scripted(name, IDLE, queueName=name))
    kubectl("wait", f"automation/{name}", "--for=condition=WorkersAvailable", "--timeout=90s")
    [pod] = kubectl.list("pods", "-l", f"rps-maestro.io/automation={name}")
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["terminationGracePeriodSeconds"] == 14400
    assert kubectl.get("automation", name)["status"]["worker"] == {"replicas": 1, "readyReplicas": 1}
    kubectl.apply(automation(name, queueName=name))
    for kind in ("deployment", "secret", "configmap", "serviceaccount"):
        eventually(
            lambda kind=kind: kubectl.run("get", kind, f"{name}-worker").returncode != 0,  # type: ignore[misc]
            f"the {kind} goes",
        )


@pytest.fixture(scope="module")
def never_up(kubectl: Kubectl) -> dict[str, str]:
    """Automations by the reason why their worker never comes up: applied together, each takes long."""
    names = {reason: f"e2e-{uuid.uuid4().hex[:8]}" for reason in NEVER_UP}
    kubectl.apply(*(automation(names[reason], worker=worker) for reason, (worker, _) in NEVER_UP.items()))
    return names


@pytest.mark.parametrize("reason", NEVER_UP)
def test_a_worker_that_never_comes_up_says_why(
    kubectl: Kubectl, never_up: dict[str, str], reason: str
) -> None:
    name, (_, words) = never_up[reason], NEVER_UP[reason]
    assert words in wait_reason(kubectl, "automation", name, reason, "WorkersAvailable", seconds=120)
    assert kubectl.condition("automation", name, "WorkersAvailable")["status"] == "False"


def test_a_new_script_rolls_the_pods_and_the_secret_stays(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(scripted(name, IDLE))
    kubectl.wait_ready("automation", name)
    secret = kubectl.get("secret", f"{name}-worker")["data"]
    before = kubectl.get("deployment", f"{name}-worker")["spec"]["template"]["metadata"]["annotations"]
    kubectl.apply(scripted(name, IDLE + "# edited\n"))

    def rolled() -> bool:
        template = kubectl.get("deployment", f"{name}-worker")["spec"]["template"]
        return bool(template["metadata"]["annotations"] != before)

    eventually(rolled, "the pods' template changes")
    assert kubectl.get("secret", f"{name}-worker")["data"] == secret
