"""The main job: an applied bot reads real invoices, and REST shows what it logged and found."""

import time
from pathlib import Path

import pytest

from e2e.cluster import Api, Kubectl, automation, eventually, scripted

AWKWARD = Path(__file__).parents[2] / "examples" / "01-nfe-summary" / "files"
LEFT_OUT = {"another-document.xml", "empty.xml", "layout-3.10.xml"}
"""Of those, the ones with nothing wrong: not counted, and not failed."""

GREETING = """
import logging

def run(parameters, context):
    print("plain line")
    logging.getLogger("bot").warning("logged line")
    return {"greeted": parameters.get("who")}
"""

FAILING = """
def run(parameters, context):
    raise ValueError("the portal says no")
"""


def execute(api: Api, automation_id: int, parameters: dict[str, object] | None = None) -> str:
    reply = api.post(f"/automations/{automation_id}/execute", parameters or {})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def test_an_applied_script_runs_with_its_log_and_result(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(scripted(name, GREETING))
    kubectl.wait_ready("automation", name)
    job = api.wait_ended(execute(api, kubectl.get("automation", name)["status"]["id"], {"who": "Ana"}))
    assert (job["status"], job["result"]) == ("completed", {"greeted": "Ana"})
    lines = [(line["level"], line["message"]) for line in api.get(f"/jobs/{job['id']}/logs").json()]
    assert ("INFO", "plain line") in lines
    assert any(level in ("WARN", "WARNING") and "logged line" in message for level, message in lines)


def test_a_failing_bot_fails_its_job_with_the_traceback(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(scripted(name, FAILING))
    kubectl.wait_ready("automation", name)
    job = api.wait_ended(execute(api, kubectl.get("automation", name)["status"]["id"]))
    assert job["status"] == "failed"
    assert "the portal says no" in job["result"]["error"]
    assert job["result"]["error_type"] == "ValueError"


def test_ready_within_seconds_of_apply(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(automation(name, scriptPath="bots/nothing.py"))
    applied = time.monotonic()
    kubectl.wait_ready("automation", name, 30)
    assert time.monotonic() - applied < 10  # the promise is 3 s; a loaded machine gets slack


def test_the_example_reads_the_sample_invoices(api: Api, nfe_summary: int) -> None:
    """Eighteen of nfelib's own, and every file that can't be read as an invoice by name."""
    job = api.wait_ended(execute(api, nfe_summary), 120)
    assert job["status"] == "completed"
    summary = job["result"]["summary"]
    assert summary["ok"] == 18
    awkward = {path.name for path in AWKWARD.glob("*.xml")}
    assert awkward > LEFT_OUT
    assert {each["file"] for each in summary["failed"]} == awkward - LEFT_OUT
    assert {each["file"] for each in job["result"]["not_counted"]} >= LEFT_OUT


@pytest.mark.disruptive
@pytest.mark.parametrize("component", ["operator", "dispatcher", "api", "postgresql", "rabbitmq"])
def test_any_one_pod_deleted_comes_back_and_a_job_passes(
    component: str, kubectl: Kubectl, release: Kubectl, api: Api, name: str
) -> None:
    kubectl.apply(scripted(name, GREETING))
    kubectl.wait_ready("automation", name)
    selector = f"app.kubernetes.io/component={component}"
    before = {pod["metadata"]["uid"] for pod in release.list("pods", "-l", selector)}
    assert before, f"no pod of the {component}"
    release("delete", "pod", "-l", selector, "--wait=true", "--timeout=120s")

    def replaced() -> bool:
        pods = release.list("pods", "-l", selector)
        fresh = [pod for pod in pods if pod["metadata"]["uid"] not in before]
        return bool(fresh) and all(_ready(pod) for pod in fresh)

    eventually(replaced, f"a new {component} pod is ready", 180)
    automation_id = kubectl.get("automation", name)["status"]["id"]
    reply = eventually(lambda: _accepted(api, automation_id), "execute is accepted again", 60)
    assert api.wait_ended(reply, 120)["status"] == "completed"


def _ready(pod: dict[str, object]) -> bool:
    status = pod["status"]
    assert isinstance(status, dict)
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))


def _accepted(api: Api, automation_id: int) -> str | None:
    try:
        reply = api.post(f"/automations/{automation_id}/execute", {})
    except OSError:
        return None  # the api's own pod was the one that went
    return str(reply.json()["id"]) if reply.status_code == 202 else None
