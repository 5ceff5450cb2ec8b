"""Whatever of an Automation's is taken away comes back within a minute."""

import pika
import pytest

from e2e.cluster import Kubectl, automation, eventually, queue_exists, scripted

WITHIN = 60


def dead_letters(broker: pika.BlockingConnection, queue: str) -> bool:
    """Whether a message of that queue would be dead-lettered to somewhere, as the exchange itself says."""
    channel = broker.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish("maestro.dlx", queue, b"a probe of the tests", mandatory=True)
    except pika.exceptions.UnroutableError:
        return False
    finally:
        channel.close()
    return True


def test_a_deleted_queue_comes_back(kubectl: Kubectl, broker: pika.BlockingConnection, name: str) -> None:
    kubectl.apply(automation(name, queueName=name))
    kubectl.wait_ready("automation", name)
    broker.channel().queue_delete(name)
    eventually(lambda: queue_exists(broker, name), "the queue is back", WITHIN)


def test_a_deleted_binding_comes_back(kubectl: Kubectl, broker: pika.BlockingConnection, name: str) -> None:
    kubectl.apply(automation(name, queueName=name))
    kubectl.wait_ready("automation", name)
    broker.channel().queue_unbind("maestro.dlq", "maestro.dlx", name)
    eventually(lambda: dead_letters(broker, name), "the binding is back", WITHIN)


@pytest.mark.parametrize("kind", ["deployment", "secret", "configmap", "serviceaccount"])
def test_a_deleted_object_of_a_worker_comes_back(kubectl: Kubectl, name: str, kind: str) -> None:
    kubectl.apply(scripted(name, "def run(parameters, context): ..."))
    kubectl.wait_ready("automation", name)
    gone = kubectl.get(kind, f"{name}-worker")["metadata"]["uid"]
    kubectl("delete", kind, f"{name}-worker", "--wait=false")

    def is_back() -> bool:
        found = kubectl.list(kind, "-l", f"rps-maestro.io/automation={name}")
        return any(
            each["metadata"]["uid"] != gone and "deletionTimestamp" not in each["metadata"] for each in found
        )

    eventually(is_back, f"the {kind} is back", WITHIN)


def test_a_scaled_deployment_is_put_right(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(scripted(name, "def run(parameters, context): ..."))
    kubectl.wait_ready("automation", name)
    kubectl("scale", f"deployment/{name}-worker", "--replicas=0")
    eventually(
        lambda: kubectl.get("deployment", f"{name}-worker")["spec"]["replicas"] == 1,
        "the Deployment has its replica again",
        WITHIN,
    )
