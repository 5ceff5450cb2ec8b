"""What a worker's pods tell of why they are not ready."""

from typing import Any

import pytest

from maestro_operator.deploy import is_waiting, state_of
from maestro_operator.pods import trouble

Pod = dict[str, Any]

LABEL = {"rps-maestro.io/automation": "bot"}


def pod(*containers: dict[str, Any], **status: Any) -> Pod:
    metadata = {"namespace": "bots", "name": "bot-worker-x", "labels": LABEL}
    return {"metadata": metadata, "status": {"phase": "Pending", "containerStatuses": containers, **status}}


def scheduled(status: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": status, "message": message}]}


def waiting(reason: str, message: str = "", **fields: Any) -> dict[str, Any]:
    return {"image": "mine:1", "state": {"waiting": {"reason": reason, "message": message}}, **fields}


NO_NODE = pod(**scheduled("False", "0/1 nodes are available: 1 Insufficient cpu."))
CAUSE = 'failed to pull and unpack image "mine:1": not found'
ENDED = {"terminated": {"exitCode": 3, "reason": "Error"}}


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (NO_NODE, "WorkerUnschedulable", "1 Insufficient cpu."),
        (pod(waiting("ErrImagePull", CAUSE)), "ImagePullFailed", "mine:1 can't be pulled: failed to pull"),
        (pod(waiting("ErrImageNeverPull", "not present")), "ImagePullFailed", "not present"),
        (pod(waiting("InvalidImageName", "bad name")), "ImagePullFailed", "bad name"),
        (pod(waiting("CreateContainerConfigError", 'secret "s" not found')), "ContainerRefused", '"s" not'),
        (pod(waiting("CrashLoopBackOff", "back-off 10s", lastState=ENDED)), "CrashLooping", "exit code 3"),
        (pod(waiting("CrashLoopBackOff")), "CrashLooping", "kubectl logs --previous -n bots -l"),
        (pod({"image": "mine:1", "state": ENDED, "restartCount": 1}), "CrashLooping", "exit code 3"),
        (pod(initContainerStatuses=[waiting("ErrImagePull", "x")]), "ImagePullFailed", "x"),
    ],
)
def test_what_a_pod_lacks_is_named(body: Pod, reason: str, words: str) -> None:
    found = trouble([body])
    assert found is not None
    assert found.reason == reason
    assert words in found.message


@pytest.mark.parametrize(
    "body",
    [
        pod(),
        {"metadata": {"labels": LABEL}},
        pod(waiting("ContainerCreating"), **scheduled("True")),
        pod({"image": "mine:1", "state": {"running": {}}, "restartCount": 7}),
        pod({"image": "mine:1", "state": ENDED, "restartCount": 0}),
        {**NO_NODE, "metadata": {**NO_NODE["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        pod(waiting("CrashLoopBackOff"), phase="Failed"),
    ],
)
def test_what_time_mends_is_no_trouble(body: Pod) -> None:
    assert trouble([body]) is None


def test_a_pull_that_is_tried_again_is_told_in_the_same_words() -> None:
    first = trouble([pod(waiting("ErrImagePull", CAUSE))])
    later = trouble(
        [pod(waiting("ImagePullBackOff", f'Back-off pulling image "mine:1": ErrImagePull: {CAUSE}'))]
    )
    assert first == later
    crashes = [
        trouble([pod(waiting("CrashLoopBackOff", f"back-off {n}s", restartCount=n, lastState=ENDED))])
        for n in (10, 20)
    ]
    assert crashes[0] == crashes[1]


def test_one_pod_without_a_node_comes_first() -> None:
    found = trouble([pod(waiting("CrashLoopBackOff")), NO_NODE])
    assert found is not None
    assert found.reason == "WorkerUnschedulable"


def deployment(wanted: int = 1, **status: Any) -> dict[str, Any]:
    return {"metadata": {"labels": LABEL}, "spec": {"replicas": wanted}, "status": status}


REFUSED = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}
LATE = {"conditions": [{"type": "Progressing", "status": "False"}]}


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        (deployment(0, replicas=1), "ScaledToZero"),
        (deployment(2, replicas=2, readyReplicas=1), "WorkersReady"),
        (deployment(replicas=1, **REFUSED), "PodsRefused"),
        (deployment(replicas=1, **LATE), "WorkerUnschedulable"),
        (deployment(replicas=1), "WorkerUnschedulable"),
    ],
)
def test_pods_are_heard_when_none_is_ready(live: dict[str, Any], reason: str) -> None:
    assert state_of(live, [NO_NODE]).reason == reason


def test_without_a_word_of_theirs_the_deployment_tells() -> None:
    assert state_of(deployment(replicas=1, **LATE)).reason == "PodsNotReady"
    assert state_of(deployment(replicas=1)).reason == "PodsStarting"
    assert state_of(deployment(replicas=1)).row == {
        "reason": "PodsStarting",
        "message": "0 of 1 pods are ready.",
        "replicas": 1,
        "readyReplicas": 0,
    }


@pytest.mark.parametrize(
    ("status", "waits"),
    [({}, False), ({"replicas": 1}, True), ({"replicas": 2, "readyReplicas": 1}, False)],
)
def test_pods_are_looked_at_only_when_there_are_some_and_none_is_ready(
    status: dict[str, int], waits: bool
) -> None:
    assert is_waiting(deployment(**status)) is waits
