"""Uninstall, and install again over what stays. Runs last: it takes the release away from everybody else."""

import json
import time
from typing import Any

import pytest

from e2e._chart import CHART, helm, values_of_the_release
from e2e.cluster import RELEASE, Api, Kubectl, automation, scripted

SCRIPT = """
def run(parameters, context):
    return {"echo": parameters["word"]}
"""

pytestmark = pytest.mark.disruptive


def run_job(kubectl: Kubectl, api: Api, name: str, word: str) -> dict[str, Any]:
    automation_id = kubectl.get("automation", name)["status"]["id"]
    accepted = api.post(f"/automations/{automation_id}/execute", {"word": word})
    assert accepted.status_code == 202, accepted.text
    job = api.wait_ended(accepted.json()["id"])
    assert (job["status"], job["result"]["echo"]) == ("completed", word)
    return job


def stored(release: Kubectl) -> dict[str, Any]:
    """What must be the same before and after: the Secrets' content and the volumes."""
    secrets = {
        f"{RELEASE}-{each}": release.get("secret", f"{RELEASE}-{each}")
        for each in ("database", "broker", "auth")
    }
    claims = release.list("persistentvolumeclaims")
    return {
        **{name: secret["data"] for name, secret in secrets.items()},
        **{claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in claims},
    }


def timed(*arguments: str, stdin: str | None = None) -> float:
    begin = time.monotonic()
    helm(*arguments, stdin=stdin)
    return time.monotonic() - begin


def test_a_reinstall_over_kept_volumes_finds_everything_again(
    kubectl: Kubectl, release: Kubectl, api: Api, name: str
) -> None:
    kubectl.apply(scripted(name, SCRIPT, displayName=name))
    kubectl.wait_ready("automations.rps-maestro.io", name)
    before = run_job(kubectl, api, name, "before")
    kept, values = stored(release), values_of_the_release()

    try:
        took = timed("uninstall", RELEASE, "--wait", "--timeout=180s")
        assert took < 120
        # Without an operator nothing may wait for one.
        kubectl.apply(automation(f"{name}-orphan"))
        kubectl("delete", "automations.rps-maestro.io", f"{name}-orphan", "--timeout=10s")
        assert kubectl.get("automations.rps-maestro.io", name)["spec"]["displayName"] == name
        assert stored(release) == kept
    finally:
        timed("install", RELEASE, str(CHART), "--values=-", "--wait", "--timeout=300s", stdin=values)

    assert stored(release) == kept
    again = api.get(f"/jobs/{before['id']}")
    assert again.status_code == 200, again.text
    assert again.json() == before
    kubectl.wait_ready("automations.rps-maestro.io", name)
    run_job(kubectl, api, name, "after")


def test_a_lost_secret_is_said_before_anything_is_changed(release: Kubectl) -> None:
    """The bootstrap hook ends soon and says what to do, and the release goes on with what it has."""
    secret = release.get("secret", f"{RELEASE}-broker")
    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        secret["metadata"].pop(key, None)
    pods = {pod["metadata"]["uid"] for pod in release.list("pods")}
    release("delete", "secret", f"{RELEASE}-broker")
    try:
        with pytest.raises(AssertionError) as failed:
            helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--timeout=120s")
    finally:
        release("create", "-f", "-", stdin=json.dumps(secret))
    said = str(failed.value)
    assert (
        f"Secret {RELEASE}-broker is missing, but the volume claim data-{RELEASE}-rabbitmq-0 exists" in said
    )
    helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--wait", "--timeout=120s")
    assert {pod["metadata"]["uid"] for pod in release.list("pods")} >= pods
