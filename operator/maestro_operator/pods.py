"""Why a worker's pods are not ready, as far as they tell themselves. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maestro_operator import worker

Pod = Mapping[str, Any]
ContainerStatus = Mapping[str, Any]

_PULLING = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
_CREATING = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_CRASHING = "CrashLoopBackOff"


@dataclass(frozen=True)
class Trouble:
    """Why no pod becomes ready: CamelCase reason, message with what to do."""

    reason: str
    message: str


def trouble(pods: Sequence[Pod]) -> Trouble | None:
    """What keeps a worker's pods from being ready; None when nothing but time does.

    Its words stay the same from look to look, so that a status is written once.
    """
    alive = [pod for pod in pods if _is_alive(pod)]
    found = (_unscheduled(alive), *(_broken(pod, each) for pod in alive for each in _containers(pod)))
    return next((each for each in found if each), None)


def _is_alive(pod: Pod) -> bool:
    phase = pod.get("status", {}).get("phase")
    return "deletionTimestamp" not in pod["metadata"] and phase not in ("Succeeded", "Failed")


def _unscheduled(pods: Sequence[Pod]) -> Trouble | None:
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return Trouble(
                    "WorkerUnschedulable", f"No node takes the pod: {condition.get('message', '')}"
                )
    return None


def _containers(pod: Pod) -> Iterator[ContainerStatus]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def _broken(pod: Pod, container: ContainerStatus) -> Trouble | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULLING:
        # While it backs off, the kubelet puts words of its own before the cause.
        cause = message.rpartition("ErrImagePull: ")[2]
        return Trouble("ImagePullFailed", f"The image {container['image']} can't be pulled: {cause}")
    if reason in _CREATING:
        return Trouble("ContainerRefused", f"The container can't be made: {message}")
    ended_again = "terminated" in container.get("state", {}) and container.get("restartCount", 0) > 0
    if reason == _CRASHING or ended_again:
        return Trouble("CrashLooping", _crash(pod, container))
    return None


def _crash(pod: Pod, container: ContainerStatus) -> str:
    ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated", {})
    how = f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', '?')}"
    label = pod["metadata"]["labels"][worker.AUTOMATION_LABEL]
    return (
        f"The worker ends again and again ({how}); see kubectl logs --previous -n "
        f"{pod['metadata']['namespace']} -l {worker.AUTOMATION_LABEL}={label}"
    )
