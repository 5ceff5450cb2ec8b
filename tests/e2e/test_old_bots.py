"""Bots written for rps-maestro in pods of their own: `tests/bots/old_bot.py` as it is, in a Deployment."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import DEFINITIONS, RELEASE, Api, Kubectl, eventually, secret

pytestmark = pytest.mark.timeout(400)

SCRIPT = Path(__file__).parents[1] / "bots" / "old_bot.py"
API_URL = f"http://{RELEASE}-api.{RELEASE}/api/v1"
SUMMARY = {"summary": {"ok": 1, "failed": []}}


@dataclass(frozen=True)
class Bot:
    """A Deployment of the script."""

    kubectl: Kubectl
    name: str

    def pods(self) -> list[dict[str, Any]]:
        return self.kubectl.list("pods", "-l", f"app={self.name}")

    def calls(self, job: str) -> list[str]:
        """What its pod's container called and was answered for a job since it began, such as `start 200`."""
        done = self.kubectl.run("logs", f"deployment/{self.name}", "--tail=-1")
        lines = (line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        return [call for about, call in lines if about == job]

    def called(self, job: str, call: str) -> None:
        eventually(lambda: call in self.calls(job), f"the bot calls {call}", every=1)

    def kill(self) -> None:
        """Its pod, as when its node is lost."""
        self.kubectl("delete", "pod", "-l", f"app={self.name}", "--force", "--grace-period=0")


Start = Callable[..., Bot]


@pytest.fixture
def bots() -> Kubectl:
    """kubectl where REST writes definitions."""
    return Kubectl(DEFINITIONS)


@pytest.fixture
def made(api: Api, bots: Kubectl, name: str) -> Iterator[dict[str, Any]]:
    """An automation as an old client makes it, with a queue of its own."""
    body = {"name": name, "scriptPath": "bots/old.py", "queueName": name, "retryPolicy": {"maxAttempts": 2}}
    reply = api.post("/automations", body)
    assert reply.status_code == 201, reply.text
    bots.wait_ready("automation", reply.json()["resourceName"])
    yield reply.json()
    api.delete(f"/automations/{reply.json()['id']}?force=true")


@pytest.fixture
def start(bots: Kubectl, release: Kubectl, worker_key: str, made: dict[str, Any]) -> Iterator[Start]:
    """Start the bot of a kind on the automation's queue."""
    queue, name = made["queueName"], f"{made['queueName']}-bot"
    image = release.get("deployment", f"{RELEASE}-api")["spec"]["template"]["spec"]["containers"][0]["image"]
    environment = {
        "API_URL": API_URL,
        "WORKER_KEY": worker_key,
        "AMQP_URL": secret(f"{RELEASE}-broker", "uri"),
        "QUEUE": queue,
        "POLL_SECONDS": "1",
    }

    def starter(kind: str = "careful") -> Bot:
        bots.apply(*manifests(name, image, environment | {"BOT_KIND": kind}))
        bots("rollout", "status", f"deployment/{name}", "--timeout=120s")
        return Bot(bots, name)

    yield starter
    kinds = "deployment,configmap,secret"
    bots("delete", kinds, name, "--ignore-not-found", "--wait=false")


def manifests(name: str, image: str, environment: dict[str, str]) -> list[dict[str, Any]]:
    metadata = {"name": name, "namespace": DEFINITIONS, "labels": {"app": name}}
    container = {
        "name": "bot",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", "/bots/old_bot.py"],
        "envFrom": [{"secretRef": {"name": name}}],
        "volumeMounts": [{"name": "bots", "mountPath": "/bots", "readOnly": True}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "automountServiceAccountToken": False,
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "bots", "configMap": {"name": name}}],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {SCRIPT.name: SCRIPT.read_text()},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": environment},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
    ]


def execute(api: Api, made: dict[str, Any], **parameters: object) -> str:
    reply = api.post(f"/automations/{made['id']}/execute", parameters)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def test_a_careful_bot(api: Api, made: dict[str, Any], start: Start) -> None:
    bot = start()
    job = execute(api, made, seconds=3)
    ended = api.wait_ended(job)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 1)
    bot.called(job, "finish 200")
    assert {"status 200", "start 200", "log 201", "cancellation 200"} <= set(bot.calls(job))
    [line] = api.get(f"/jobs/{job}/logs").json()
    assert line["message"] == f"running bots/old.py of automation {made['id']}"
    canceled = execute(api, made, seconds=600)
    bot.called(canceled, "cancellation 200")
    assert api.post(f"/jobs/{canceled}/cancel").status_code == 202
    assert api.wait_ended(canceled)["status"] == "canceled"


def test_a_killed_pod_leaves_its_job_to_the_next(api: Api, made: dict[str, Any], start: Start) -> None:
    bot = start()
    job = execute(api, made, seconds=10)
    bot.called(job, "cancellation 200")
    bot.kill()
    ended = api.wait_ended(job)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 2)


def test_a_bot_that_nobody_hears_of_while_it_works(api: Api, made: dict[str, Any], start: Start) -> None:
    # Far longer than what a bot that polls may be silent for.
    changed = api.put(f"/automations/{made['id']}", {"heartbeatTimeoutSeconds": 10})
    assert changed.status_code == 200, changed.text
    bot = start("silent")
    job = execute(api, made, seconds=30)
    ended = api.wait_ended(job)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 1)
    bot.called(job, "finish 200")
    assert bot.calls(job) == ["start 200", "log 201", "finish 200"]


def test_a_bot_that_sends_finish_again(api: Api, made: dict[str, Any], start: Start) -> None:
    bot = start("insistent")
    job = execute(api, made)
    ended = api.wait_ended(job)
    assert (ended["status"], ended["result"], ended["attempt"]) == ("completed", SUMMARY, 1)
    eventually(lambda: bot.calls(job)[-2:] == ["finish 200", "finish 200"], "it is sure of it", every=1)
    assert [call.split()[0] for call in bot.calls(job)].count("finish") == 3
    assert api.get(f"/jobs/{job}").json() == ended


def test_a_job_that_kills_its_bot_each_time(api: Api, made: dict[str, Any], start: Start) -> None:
    bot = start()
    job = execute(api, made, deadly=True)
    ended = api.wait_ended(job, 180)
    assert (ended["status"], ended["errorClass"], ended["attempt"]) == ("failed", "WORKER_LOST", 2)
    # No loop: its message is gone, and the kubelet's next start of the bot takes the next one.
    after = api.wait_ended(execute(api, made), 180)
    assert after["status"] == "completed"
    assert api.get(f"/jobs/{job}").json() == ended
    [pod] = bot.pods()
    [container] = pod["status"]["containerStatuses"]
    assert container["restartCount"] >= 2, json.dumps(container)
