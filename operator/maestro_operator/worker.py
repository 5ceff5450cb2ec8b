"""The objects of an Automation's worker: spec in, manifests out. No I/O."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import orjson

from maestro.automation.model import Automation
from maestro.kube import AUTOMATION
from maestro.settings import Settings

Manifest = dict[str, Any]

MANAGER = "maestro-operator"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
AUTOMATION_LABEL = "rps-maestro.io/automation"
SPEC_HASH = "rps-maestro.io/spec-hash"
INPUTS_HASH = "rps-maestro.io/inputs-hash"
SELECTOR = f"{MANAGED_BY}={MANAGER},{COMPONENT}=worker"

_SCRIPT_FOLDER, _SCRIPT_FILE = "/etc/maestro/script", "bot.py"
_HEARTBEAT_SECONDS = 30
"""The worker's own, unless it is told otherwise."""
_HOME, _TMP = "/home/worker", "/tmp"  # noqa: S108
_READY_FILE = "/tmp/maestro-worker-ready"  # noqa: S108


@dataclass(frozen=True)
class Access:
    """What lets a worker in: the broker's URL with its own user, and the api's key."""

    amqp_url: str
    worker_key: str


def object_name(automation: str) -> str:
    """The name of all its objects, at most 63 characters."""
    return _shortened(automation, 56) + "-worker"


def labels(automation: str) -> dict[str, str]:
    return {
        MANAGED_BY: MANAGER,
        COMPONENT: "worker",
        AUTOMATION_LABEL: _shortened(automation, 63),
    }


def user_prefix(vhost: str) -> str:
    """What all workers' users of a virtual host begin with; users belong to the whole broker."""
    return f"worker.{vhost}."


def broker_user(vhost: str, namespace: str, name: str) -> str:
    return f"{user_prefix(vhost)}{namespace}.{name}"


def amqp_url(settings: Settings, user: str, password: str) -> str:
    """The broker as the worker reaches it, with these credentials."""
    parts = urlsplit(settings.broker_uri.get_secret_value())
    host = settings.worker_broker_host or parts.netloc.rpartition("@")[2]
    vhost = quote(settings.vhost, safe="")
    return f"{parts.scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}/{vhost}"


def password_in(secret: Mapping[str, Any] | None) -> str | None:
    """The broker password that a worker's Secret holds; None when it holds none."""
    encoded = ((secret or {}).get("data") or {}).get("amqp-url", "")
    try:
        url = base64.b64decode(encoded, validate=True).decode()
        return unquote(urlsplit(url).password or "") or None
    except ValueError:
        return None


def manifests(
    resource: Mapping[str, Any], row: Automation, access: Access, settings: Settings
) -> list[Manifest]:
    """All objects, the Deployment last since its pods need the others."""
    worker = resource["spec"]["worker"]
    objects = [_service_account(resource), _secret(resource, access)]
    if "script" in worker:
        objects.append(_config_map(resource))
    objects.append(_deployment(resource, row, access, settings))
    return objects


def _service_account(resource: Mapping[str, Any]) -> Manifest:
    return _object(resource, "v1", "ServiceAccount") | {"automountServiceAccountToken": False}


def _secret(resource: Mapping[str, Any], access: Access) -> Manifest:
    data = {"amqp-url": _base64(access.amqp_url), "worker-key": _base64(access.worker_key)}
    return _object(resource, "v1", "Secret") | {"type": "Opaque", "data": data}


def _config_map(resource: Mapping[str, Any]) -> Manifest:
    script = resource["spec"]["worker"]["script"]
    return _object(resource, "v1", "ConfigMap") | {"data": {_SCRIPT_FILE: script}}


def _deployment(resource: Mapping[str, Any], row: Automation, access: Access, settings: Settings) -> Manifest:
    worker = resource["spec"]["worker"]
    own = labels(resource["metadata"]["name"])
    deployment = _object(resource, "apps/v1", "Deployment")
    deployment["spec"] = {
        "replicas": worker.get("replicas", 1),
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": own},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {
            "metadata": {
                "labels": {**worker.get("podLabels", {}), **own},
                "annotations": {**worker.get("podAnnotations", {}), INPUTS_HASH: _inputs(worker, access)},
            },
            "spec": _pod(resource["metadata"]["name"], worker, row, settings),
        },
    }
    # A field that is set no more differs from nothing in the live object; this tells.
    deployment["metadata"]["annotations"] = {SPEC_HASH: _hash(deployment["spec"])}
    return deployment


def _pod(name: str, worker: Mapping[str, Any], row: Automation, settings: Settings) -> Manifest:
    pod: Manifest = {
        "serviceAccountName": object_name(name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": worker.get("terminationGracePeriodSeconds", 14400),
        # The pause container is process 1, so a worker still starting (no handler yet) dies of SIGTERM; as
        # process 1 it would ignore it and go on consuming for the whole grace period.
        "shareProcessNamespace": True,
        "securityContext": _pod_security(worker),
        "containers": [_container(name, worker, row, settings)],
        "volumes": _volumes(name, worker),
    }
    pull_secrets = [{"name": secret} for secret in settings.runner_image_pull_secrets]
    pull_secrets = [each for each in pull_secrets if each not in worker.get("imagePullSecrets", [])]
    pod["imagePullSecrets"] = pull_secrets + worker.get("imagePullSecrets", [])
    for field in ("nodeSelector", "tolerations"):
        if field in worker:
            pod[field] = worker[field]
    return {field: value for field, value in pod.items() if value != []}


def _pod_security(worker: Mapping[str, Any]) -> Manifest:
    security: Manifest = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return security | {field: worker[field] for field in ("runAsUser", "fsGroup") if field in worker}


def _container(name: str, worker: Mapping[str, Any], row: Automation, settings: Settings) -> Manifest:
    container: Manifest = {
        "name": "worker",
        "image": worker.get("image", settings.runner_image),
        "env": _environment(name, worker, row, settings),
        "volumeMounts": _mounts(worker),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": worker.get("readOnlyRootFilesystem", True),
        },
    }
    if "image" not in worker:
        container["imagePullPolicy"] = settings.runner_image_pull_policy
    if _runs_maestro(worker):
        container["command"] = ["maestro", "worker"]
        # There while it consumes or runs a bot, gone while it looks for the broker or its queue.
        container["readinessProbe"] = {
            "exec": {"command": ["test", "-e", _READY_FILE]},
            "initialDelaySeconds": 2,
            "periodSeconds": 5,
        }
    given = ("command", "args", "envFrom", "resources", "imagePullPolicy")
    return container | {field: worker[field] for field in given if field in worker}


def _runs_maestro(worker: Mapping[str, Any]) -> bool:
    """An own image without a command runs its own entrypoint."""
    return "script" in worker or ("image" not in worker and "command" not in worker)


def _environment(name: str, worker: Mapping[str, Any], row: Automation, settings: Settings) -> list[Manifest]:
    secret = object_name(name)
    ours: list[Manifest] = [
        {"name": "HOME", "value": _HOME},
        {"name": "MAESTRO_API_URL", "value": settings.worker_api_url},
        {"name": "MAESTRO_QUEUE", "value": row.queue},
        {"name": "MAESTRO_AMQP_URL", "valueFrom": {"secretKeyRef": {"name": secret, "key": "amqp-url"}}},
        {"name": "MAESTRO_WORKER_KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "worker-key"}}},
    ]
    if "script" in worker:
        ours.append({"name": "MAESTRO_SCRIPT", "value": f"{_SCRIPT_FOLDER}/{_SCRIPT_FILE}"})
    # Several signs of life fit into the silence after which it counts as lost.
    if (seconds := row.heartbeat_timeout_seconds / 3) < _HEARTBEAT_SECONDS:
        ours.append({"name": "MAESTRO_HEARTBEAT_SECONDS", "value": f"{seconds:.1f}"})
    theirs: list[Manifest] = worker.get("env", [])
    taken = {each["name"] for each in theirs}
    # After ours, so that their values may refer to ours as $(MAESTRO_QUEUE).
    return [each for each in ours if each["name"] not in taken] + theirs


def _volumes(name: str, worker: Mapping[str, Any]) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "maestro-tmp", "emptyDir": {}},
        {"name": "maestro-home", "emptyDir": {}},
    ]
    if "script" in worker:
        volumes.append({"name": "maestro-script", "configMap": {"name": object_name(name)}})
    theirs: list[Manifest] = worker.get("volumes", [])
    return volumes + theirs


def _mounts(worker: Mapping[str, Any]) -> list[Manifest]:
    ours: list[Manifest] = [
        {"name": "maestro-tmp", "mountPath": _TMP},
        {"name": "maestro-home", "mountPath": _HOME},
    ]
    if "script" in worker:
        ours.append({"name": "maestro-script", "mountPath": _SCRIPT_FOLDER, "readOnly": True})
    theirs: list[Manifest] = worker.get("volumeMounts", [])
    taken = {each["mountPath"].rstrip("/") for each in theirs}
    return [each for each in ours if each["mountPath"] not in taken] + theirs


def _inputs(worker: Mapping[str, Any], access: Access) -> str:
    """Changes with what pods read at their start, so that such a change rolls them."""
    return _hash([worker.get("script"), access.amqp_url, access.worker_key])


def _object(resource: Mapping[str, Any], api_version: str, kind: str) -> Manifest:
    metadata = resource["metadata"]
    owner = {
        "apiVersion": AUTOMATION.api_version,
        "kind": AUTOMATION.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "namespace": metadata["namespace"],
            "name": object_name(metadata["name"]),
            "labels": labels(metadata["name"]),
            "ownerReferences": [owner],
        },
    }


def _shortened(name: str, limit: int) -> str:
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
