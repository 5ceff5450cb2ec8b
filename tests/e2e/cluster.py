"""The cluster that `make up` made, with the chart installed, through the tools its users have."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pika
import requests
from pika.exceptions import ChannelClosedByBroker

T = TypeVar("T")

CONTEXT = os.environ.get("MAESTRO_CONTEXT", "kind-maestro")
API_URL = os.environ.get("MAESTRO_API_URL", "http://127.0.0.1:8080/api/v1")
RELEASE = "maestro"
DEFINITIONS = "maestro-bots"
NAMESPACE = "maestro-e2e"


@dataclass(frozen=True)
class Kubectl:
    """kubectl against the tests' cluster; `namespace` is where unnamespaced calls go."""

    namespace: str = NAMESPACE

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it and return whatever came of it."""
        command = ["kubectl", "--context", CONTEXT, "--namespace", self.namespace, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it and return its output; raises AssertionError with what it said when it fails."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(json.loads(self("get", kind, name, "-o", "json")))

    def list(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        return list(json.loads(self("get", kind, "-o", "json", *arguments))["items"])

    def condition(self, kind: str, name: str, condition: str = "Ready") -> dict[str, Any]:
        """The condition of that type, {} while there is none."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((dict(each) for each in conditions if each["type"] == condition), {})

    def wait_ready(self, kind: str, name: str, seconds: int = 60) -> None:
        self("wait", f"{kind}/{name}", "--for=condition=Ready", f"--timeout={seconds}s")


@dataclass
class Api:
    """The REST service as its clients reach it, with an admin's token."""

    token: str
    url: str = API_URL
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **keywords: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **keywords.pop("headers", {})}
        return self.session.request(method, self.url + path, headers=headers, timeout=30, **keywords)

    def get(self, path: str, **keywords: Any) -> requests.Response:
        return self.call("GET", path, **keywords)

    def post(self, path: str, body: Any = None, **keywords: Any) -> requests.Response:
        return self.call("POST", path, json=body, **keywords)

    def put(self, path: str, body: Any = None, **keywords: Any) -> requests.Response:
        return self.call("PUT", path, json=body, **keywords)

    def delete(self, path: str, **keywords: Any) -> requests.Response:
        return self.call("DELETE", path, **keywords)

    def wait_ended(self, job_id: str, seconds: float = 90) -> dict[str, Any]:
        """The job once it has ended."""

        def ended() -> dict[str, Any] | None:
            job = self.get(f"/jobs/{job_id}").json()
            return job if job["status"] not in ("pending", "running") else None

        return eventually(ended, f"job {job_id} ends", seconds)


def eventually(probe: Callable[[], T | None], what: str, seconds: float = 60, every: float = 0.2) -> T:
    """What `probe` returns once that is true; AssertionError when it is not so in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(every)


def wait_reason(
    kubectl: Kubectl, kind: str, name: str, reason: str, condition: str = "Ready", *, seconds: float = 60
) -> str:
    """The condition's message once it has that reason."""
    found = eventually(
        lambda: (c := kubectl.condition(kind, name, condition)).get("reason") == reason and c,
        f"{kind} {name} says {reason}",
        seconds,
    )
    return str(found["message"])


def queue_exists(broker: pika.BlockingConnection, queue: str) -> bool:
    channel = broker.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except ChannelClosedByBroker:
        return False
    channel.close()
    return True


def empty(kubectl: Kubectl) -> None:
    """Delete all definitions of the namespace. kubectl's own waiting asks for each object by itself, at its
    client's rate limit: minutes for a thousand."""
    kinds = "schedules.rps-maestro.io,businesscalendars.rps-maestro.io,automations.rps-maestro.io"
    kubectl("delete", kinds, "--all", "--wait=false")
    eventually(lambda: not kubectl("get", kinds, "-o", "name"), f"{kubectl.namespace} is empty", 120, every=1)


def secret(name: str, key: str) -> str:
    template = f'{{{{index .data "{key}" | base64decode}}}}'
    return Kubectl(RELEASE)("get", "secret", name, "-o", f"go-template={template}")


def automation(name: str, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """An Automation with that spec."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "rps-maestro.io/v1alpha1", "kind": "Automation", "metadata": metadata, "spec": spec}


def schedule(name: str, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """A Schedule with that spec."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "rps-maestro.io/v1alpha1", "kind": "Schedule", "metadata": metadata, "spec": spec}


def calendar(name: str, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """A BusinessCalendar with that spec."""
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "rps-maestro.io/v1alpha1",
        "kind": "BusinessCalendar",
        "metadata": metadata,
        "spec": spec,
    }


def scripted(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """An Automation with a worker that runs this inline script."""
    return automation(name, worker={"script": script}, **spec)
