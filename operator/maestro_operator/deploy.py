"""The worker of an Automation in the cluster and at the broker: brought to the spec, or taken away."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from maestro.automation.model import Automation
from maestro.errors import BadInput, Forbidden, SpecRefused
from maestro.kube import CONFIG_MAP, DEPLOYMENT, POD, SECRET, SERVICE_ACCOUNT, kind_of
from maestro_operator import pods, worker
from maestro_operator.conditions import WORKERS_AVAILABLE, Condition
from maestro_operator.covers import covers
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Reader, Services


@dataclass(frozen=True)
class WorkerState:
    """What a Deployment and its pods tell of themselves."""

    replicas: int
    ready: int
    status: Literal["True", "False"]
    reason: str
    message: str

    @property
    def condition(self) -> Condition:
        return Condition(WORKERS_AVAILABLE, self.status, self.reason, self.message)

    @property
    def row(self) -> dict[str, Any]:
        """As `Automation.worker_state` keeps it."""
        return {
            "reason": self.reason,
            "message": self.message,
            "replicas": self.replicas,
            "readyReplicas": self.ready,
        }


async def deploy(services: Services, resource: Resource, row: Automation) -> WorkerState:
    """Bring user, Secret, ServiceAccount, ConfigMap and Deployment to the spec; write only what differs.

    Raises SpecRefused when Kubernetes refuses one of them or somebody else's object has its name.
    """
    namespace, name = row.namespace, worker.object_name(row.name)
    secret = await services.call(services.kube.get, SECRET, namespace, name)
    user = worker.broker_user(services.settings.vhost, namespace, row.name)
    # The Secret is the source: its password outlives the broker's users and this process.
    password = worker.password_in(secret) or secrets.token_urlsafe(24)
    access = worker.Access(
        worker.amqp_url(services.settings, user, password), services.settings.worker_key.get_secret_value()
    )
    await _allow(services, Reader(user, password, row.queue))
    live: Resource = {}
    for manifest in worker.manifests(resource, row, access, services.settings):
        live = await _bring(services, manifest, secret if manifest["kind"] == SECRET.kind else None)
    if "script" not in resource["spec"]["worker"]:
        await _take_away(services, CONFIG_MAP, namespace, name)
    return state_of(live, await _pods(services, live))


async def undeploy(services: Services, automation: Key, row: Automation) -> None:
    """Take away what a worker no longer in the spec had; the Deployment last, as it tells of the rest."""
    name = worker.object_name(row.name)
    await drop_user(services, row)
    for kind in (SECRET, CONFIG_MAP, SERVICE_ACCOUNT, DEPLOYMENT):
        await _take_away(services, kind, row.namespace, name)
    services.deployments.discard(automation)


async def drop_user(services: Services, row: Automation) -> None:
    """Delete the worker's user at the broker."""
    user = worker.broker_user(services.settings.vhost, row.namespace, row.name)
    await services.call(services.management.drop_user, user)
    services.readers = {reader for reader in services.readers if reader.user != user}


async def _pods(services: Services, deployment: Resource) -> list[Resource]:
    """The Deployment's pods where they are worth a look."""
    if not is_waiting(deployment):
        return []
    metadata = deployment["metadata"]
    label = f"{worker.AUTOMATION_LABEL}={metadata['labels'][worker.AUTOMATION_LABEL]}"
    return await services.call(
        services.kube.list, POD, metadata["namespace"], labels=f"{worker.SELECTOR},{label}"
    )


def is_waiting(deployment: Mapping[str, Any]) -> bool:
    """It has pods, and none of them is ready: they may tell why, and no watch tells of them."""
    status = deployment.get("status", {})
    return bool(status.get("replicas")) and not status.get("readyReplicas")


def state_of(deployment: Mapping[str, Any], its_pods: Sequence[Mapping[str, Any]] = ()) -> WorkerState:
    """Whether a Deployment's pods are there to take jobs, and if not, why not."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    total, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
    if wanted == 0:
        return WorkerState(total, ready, "False", "ScaledToZero", "spec.worker.replicas is 0.")
    if ready:
        return WorkerState(total, ready, "True", "WorkersReady", f"{ready} of {wanted} pods are ready.")
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    failure = conditions.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return WorkerState(total, ready, "False", "PodsRefused", failure.get("message", ""))
    if trouble := pods.trouble(its_pods):
        return WorkerState(total, ready, "False", trouble.reason, trouble.message)
    if conditions.get("Progressing", {}).get("status") == "False":
        message = f"No pod became ready in time; see kubectl describe pods -l {worker.AUTOMATION_LABEL}="
        message += deployment["metadata"]["labels"][worker.AUTOMATION_LABEL]
        return WorkerState(total, ready, "False", "PodsNotReady", message)
    return WorkerState(total, ready, "False", "PodsStarting", f"0 of {wanted} pods are ready.")


async def _allow(services: Services, reader: Reader) -> None:
    """Set the user once per process; the sweep takes out of `readers` those it misses at the broker."""
    if reader in services.readers:
        return
    await services.call(services.management.allow_reader, reader.user, reader.password, reader.queue)
    services.readers.add(reader)


async def _bring(services: Services, manifest: worker.Manifest, live: Resource | None) -> Resource:
    """The object as it is once it has every field of the manifest."""
    kind, metadata = kind_of(manifest), manifest["metadata"]
    if live is None:
        live = await services.call(services.kube.get, kind, metadata["namespace"], metadata["name"])
    if live is not None:
        _refuse_foreign(live, kind.kind)
        if covers(live, manifest):
            return live
    try:
        return await services.call(services.kube.apply, manifest, manager=worker.MANAGER, force=True)
    except (BadInput, Forbidden) as error:
        raise SpecRefused(
            "WorkerRefused", f"Kubernetes refused the worker's {kind.kind}: {error.message} Mend spec.worker."
        ) from error


def _refuse_foreign(live: Resource, kind: str) -> None:
    if live["metadata"].get("labels", {}).get(worker.MANAGED_BY) == worker.MANAGER:
        return
    name = live["metadata"]["name"]
    raise SpecRefused(
        "ObjectExists",
        f"The {kind} {name} exists and is not Maestro's. Delete it, or give this Automation another name.",
    )


async def _take_away(services: Services, kind: Any, namespace: str, name: str) -> None:
    live = await services.call(services.kube.get, kind, namespace, name)
    if live is None or live["metadata"].get("labels", {}).get(worker.MANAGED_BY) != worker.MANAGER:
        return
    await services.call(services.kube.delete, kind, namespace, name, uid=live["metadata"]["uid"])
