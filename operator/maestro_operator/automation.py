"""An Automation: its row, its queue, its worker, its status."""

import logging

from maestro.automation import store
from maestro.automation.model import Automation, Suspension
from maestro.errors import Forbidden, NameTaken, SpecRefused, Unavailable
from maestro.kube import AUTOMATION
from maestro_operator import deploy, events, status
from maestro_operator.conditions import QUEUE_READY, READY, SUSPENDED, WORKERS_AVAILABLE, Condition
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Services
from maestro_operator.status import Findings

log = logging.getLogger(__name__)


async def sync(services: Services, key: Key) -> None:
    """Bring everything to what the resource says, or clear up after it when it is gone. Idempotent."""
    resource = await services.current(key)
    if resource is None:
        await _retire(services, key)
        return
    if (
        "deletionTimestamp" in resource["metadata"]
    ):  # somebody's finalizer keeps it; nothing is begun any more
        return
    findings = Findings()
    try:
        await _serve(services, key, resource, findings)
        services.settled(key)
    except NameTaken as taken:
        _refuse(findings, SpecRefused("DisplayNameTaken", taken.message))
        name = resource["spec"].get("displayName") or key.name
        services.waits_for(key, ("displayName", key.namespace, name))
    except SpecRefused as refusal:
        _refuse(findings, refusal)
        services.waits_for(key, None)
    except Forbidden as forbidden:  # a grant Maestro itself lacks: each sweep looks whether it has come
        _refuse(findings, SpecRefused("NotAllowed", forbidden.message))
        services.waits_for(key, None)
    except Unavailable as away:
        await status.write_waiting(services, key, resource, away)
        raise
    if SUSPENDED not in findings.conditions:
        await _note_suspension_in_force(services, key, resource, findings)
    _fill(findings, resource)
    await status.write(services, key, resource, findings)


async def _serve(services: Services, key: Key, resource: Resource, findings: Findings) -> None:
    row = await _register(services, key, resource)
    # What else the status tells of the queue stays.
    known_queue = resource.get("status", {}).get("queue", {})
    findings.fields |= {"id": row.id, "queue": known_queue | {"name": row.queue}}
    findings.add(suspended(row.suspension))
    services.came(("automation", key.namespace, key.name))
    _mark_schedules_of_an_edit(services, key, resource)
    queue = await services.topology.ensure(row.queue, row.arguments)
    findings.note(
        QUEUE_READY, "True", "QueueDeclared", queue.note or "The queue and its dead-letter binding exist."
    )
    await _serve_worker(services, key, resource, row, findings)
    findings.note(
        READY, "True", "Registered", f"Jobs are published to the queue {row.queue}.{_moved(resource, row)}"
    )


async def _register(services: Services, key: Key, resource: Resource) -> Automation:
    """Its row, brought to what the resource says: at once for most, so that many at once are soon served."""
    shared = services.settings.shared_queues
    if not _is_forbidden(services, resource):
        async with services.database() as connection:
            if row := await store.register_new(connection, resource, shared_queues=shared):
                return row
    await _end_predecessor(services, key, resource)
    _refuse_release_namespace(services, resource)
    async with services.database() as connection:
        return await store.register(connection, resource, shared_queues=shared)


async def _serve_worker(
    services: Services, key: Key, resource: Resource, row: Automation, findings: Findings
) -> None:
    if "worker" in resource["spec"]:
        found = await deploy.deploy(services, resource, row)
        findings.fields["worker"] = {"replicas": found.replicas, "readyReplicas": found.ready}
        findings.add(found.condition)
        if row.worker_state != found.row:
            async with services.database() as connection:
                await store.note_worker(connection, row.id, found.row)
        return
    if key in services.deployments:
        await deploy.undeploy(services, key, row)
    findings.fields["worker"] = None
    findings.note(WORKERS_AVAILABLE, "Unknown", "NotManaged", "Without spec.worker, workers run elsewhere.")


def suspended(suspension: Suspension | None) -> Condition:
    """What the status says of it."""
    if suspension is None:
        return Condition(SUSPENDED, "False", "NotSuspended", "Its jobs are published.")
    return Condition(SUSPENDED, "True", suspension.reason, suspension.message)


async def _note_suspension_in_force(
    services: Services, key: Key, resource: Resource, findings: Findings
) -> None:
    """What was taken up before a refusal is served on, and can be paused and resumed."""
    async with services.database() as connection:
        row = await store.by_name(connection, key.namespace, key.name)
    if row is not None and row.uid == resource["metadata"]["uid"]:
        findings.add(suspended(row.suspension))


def _is_forbidden(services: Services, resource: Resource) -> bool:
    namespace = resource["metadata"]["namespace"]
    return "worker" in resource["spec"] and namespace == services.settings.release_namespace


def _refuse_release_namespace(services: Services, resource: Resource) -> None:
    if not _is_forbidden(services, resource):
        return
    raise SpecRefused(
        "WorkerNamespaceForbidden",
        f"Workers don't run in {services.settings.release_namespace}, where Maestro's own Secrets are. Apply "
        "this Automation in another one of the chart's watchNamespaces.",
    )


def _moved(resource: Resource, row: Automation) -> str:
    """A word on a queueName that came too late to be followed."""
    asked = resource["spec"].get("queueName", row.queue)
    if asked == row.queue:
        return ""
    return f" A queue is chosen once: delete this Automation and apply it again to have {asked}."


def _refuse(findings: Findings, refusal: SpecRefused) -> None:
    """Ready is false whatever is refused; what was served before still is."""
    findings.note(READY, "False", refusal.reason, refusal.message)
    if refusal.condition != READY:
        findings.note(refusal.condition, "False", refusal.reason, refusal.message)


def _fill(findings: Findings, resource: Resource) -> None:
    """What a first visit that was refused leaves open, and the counts of a new one."""
    old = status.conditions_of(resource)
    findings.default(old, Condition(QUEUE_READY, "Unknown", "NotRegistered", "See Ready."))
    findings.default(old, Condition(WORKERS_AVAILABLE, "Unknown", "NotRegistered", "See Ready."))
    findings.default(old, Condition(SUSPENDED, "Unknown", "NotRegistered", "See Ready."))
    if "id" in findings.fields and "jobs" not in resource.get("status", {}):
        findings.fields["jobs"] = {"pending": 0, "running": 0}


def _mark_schedules_of_an_edit(services: Services, key: Key, resource: Resource) -> None:
    """Another parameterSchema may refuse what a Schedule gives, or take what it refused."""
    observed = resource.get("status", {}).get("observedGeneration")
    if observed is not None and observed != resource["metadata"]["generation"]:
        for schedule in services.schedules_of(key):
            services.mark(schedule)


async def _end_predecessor(services: Services, key: Key, resource: Resource) -> None:
    """Clear up after an earlier object of this name, before this one takes its row up."""
    async with services.database() as connection:
        old = await store.predecessor(connection, resource)
    if old is not None:
        await _retire(services, key, old.uid)


async def _retire(services: Services, key: Key, uid: str | None = None) -> None:
    """The resource is gone, or with `uid` that very one of this name."""
    services.settled(key)
    async with services.database() as connection:
        row = await store.retire(connection, key.namespace, key.name, uid=uid)
    if row is None or row.cleared_at is not None:
        return
    log.info("%s is gone; its pending jobs are canceled", key)
    services.came(("displayName", key.namespace, row.display_name))
    for schedule in services.schedules_of(key):
        services.mark(schedule)
    await _clear(services, row)
    async with services.database() as connection:
        await store.cleared(connection, row.id)


async def _clear(services: Services, row: Automation) -> None:
    """Deal with what it had at the broker. Kubernetes itself deletes what the resource owned."""
    if row.managed:
        await deploy.drop_user(services, row)
    async with services.database() as connection:
        in_use = await store.queue_users(connection, row.queue)
    if in_use or row.queue in services.settings.shared_queues:
        return
    if row.deletion_policy != "Delete":
        await _warn_kept(services, row, "QueueRetained", "its deletionPolicy is Retain")
    elif not await services.topology.delete(row.queue):
        await _warn_kept(services, row, "QueueNotEmpty", "messages are in it")


async def _warn_kept(services: Services, row: Automation, reason: str, why: str) -> None:
    gone = {
        "apiVersion": AUTOMATION.api_version,
        "kind": AUTOMATION.kind,
        "metadata": {"namespace": row.namespace, "name": row.name, "uid": row.uid},
    }
    command = f"rabbitmqctl delete_queue {row.queue}"
    message = f"The queue {row.queue} stays, since {why}. When nobody needs it any more: {command}"
    await events.post(services, gone, "Warning", reason, message)
