"""A thousand Automations at once, and how long until all of them are Ready.

Listing them again and again would take the API server time that the operator waits for: they are watched.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiClient, Configuration, CustomObjectsApi
from kubernetes.config import load_kube_config
from kubernetes.watch import Watch

from e2e.cluster import CONTEXT, NAMESPACE, Kubectl, automation
from maestro.kube import AUTOMATION, Kube
from maestro.kube.kinds import GROUP, VERSION

CLIENTS = 16
_LABELS = {"tests": "many"}
_SECONDS = 120


@dataclass(frozen=True)
class Taken:
    """Seconds from the first create until all existed, and until all were Ready."""

    created: float
    ready: float

    def __str__(self) -> str:
        return f"created in {self.created:.1f} s, Ready after {self.ready:.1f} s"


def configuration() -> Configuration:
    found = Configuration()
    load_kube_config(context=CONTEXT, client_configuration=found)  # type: ignore[no-untyped-call]
    return found


def labeled(name: str, **spec: Any) -> dict[str, Any]:
    """An Automation that `create` and `apply` know again."""
    body = automation(name, **spec)
    body["metadata"]["labels"] = _LABELS
    return body


def create(objects: Iterable[dict[str, Any]]) -> Taken:
    """By several clients at once, without kubectl, which sends one request after the other."""
    kube = Kube(configuration())

    def send(every: list[dict[str, Any]]) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda each: kube.create(each, manager="tests"), every))

    return _timed(send, list(objects))


def apply(kubectl: Kubectl, objects: Iterable[dict[str, Any]]) -> Taken:
    """By one `kubectl apply` of all."""
    return _timed(lambda every: kubectl.apply(*every), list(objects))


def _timed(send: Callable[[list[dict[str, Any]]], None], objects: list[dict[str, Any]]) -> Taken:
    began = time.monotonic()
    send(objects)
    created = time.monotonic() - began
    _await_ready(len(objects))
    return Taken(created, time.monotonic() - began)


def _await_ready(count: int) -> None:
    """A watch begins with the objects there are; AssertionError when it ends before `count` are Ready."""
    watch, found = Watch(), set[str]()
    listed = CustomObjectsApi(ApiClient(configuration())).list_namespaced_custom_object
    place = (GROUP, VERSION, NAMESPACE, AUTOMATION.plural)
    selector = ",".join(f"{label}={value}" for label, value in _LABELS.items())
    for event in watch.stream(listed, *place, label_selector=selector, timeout_seconds=_SECONDS):
        body = event["object"]
        if event["type"] != "DELETED" and _is_ready(body):
            found.add(body["metadata"]["name"])
        if len(found) == count:
            return
    raise AssertionError(f"{len(found)} of {count} Automations are Ready after {_SECONDS} s")


def _is_ready(body: dict[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
