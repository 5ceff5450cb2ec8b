"""Figures of the main path on the development cluster: `make bench` prints them as a table.

From apply to Ready (one object, and 1,000 at once), what an operator restart writes over those, and from
execute to the start of an idle worker, by the service's and the API server's records. Nothing is asserted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from e2e.cluster import NAMESPACE, RELEASE, Api, Kubectl, automation, empty, eventually, scripted, secret
from maestro.kube import AUTOMATION, Kube

NOTHING = "def run(parameters, context):\n    return None\n"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def apply_to_ready(kubectl: Kubectl, rounds: int) -> list[float]:
    """Seconds from `kubectl apply`'s return to Ready, for one object at a time."""
    taken = []
    for number in range(rounds):
        name = f"bench-ready-{number}"
        kubectl.apply(automation(name, scriptPath="bots/bench.py"))
        began = time.perf_counter()
        kubectl.wait_ready("automation", name)
        taken.append(time.perf_counter() - began)
    return taken


def execute_to_start(kubectl: Kubectl, api: Api, rounds: int) -> list[float]:
    """Seconds from a job's creation to its start by an idle worker, by the service's own times."""
    kubectl.apply(scripted("bench-start", NOTHING))
    kubectl.wait_ready("automation", "bench-start", 120)
    automation_id = kubectl.get("automation", "bench-start")["status"]["id"]
    taken = []
    for _ in range(rounds):
        reply = api.post(f"/automations/{automation_id}/execute", {})
        reply.raise_for_status()
        job = api.wait_ended(reply.json()["id"])
        taken.append((_instant(job["startedAt"]) - _instant(job["createdAt"])).total_seconds())
        time.sleep(0.2)  # the worker is idle again
    return taken


def _ready_count(kube: Kube) -> int:
    listed = kube.list(AUTOMATION, NAMESPACE, labels="bench=thousand")
    return sum(
        any(each["type"] == "Ready" and each["status"] == "True" for each in item["status"]["conditions"])
        for item in listed
        if "conditions" in item.get("status", {})
    )


def thousand(count: int) -> tuple[float, float]:
    """Seconds from the first create until `count` Automations exist, and until all of them are Ready."""
    kube = Kube.connect()
    objects = [
        automation(f"bench-thousand-{number}", queueName=f"bench.thousand.{number}", deletionPolicy="Delete")
        for number in range(count)
    ]
    for each in objects:
        each["metadata"]["labels"] = {"bench": "thousand"}
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as senders:
        list(senders.map(lambda each: kube.create(each, manager="bench"), objects))
    created = time.perf_counter() - began
    eventually(lambda: _ready_count(kube) == count, f"{count} Automations are Ready", 120, every=1)
    return created, time.perf_counter() - began


def versions(kubectl: Kubectl) -> dict[str, str]:
    """Each Automation's resourceVersion, which every write to it changes."""
    return {
        each["metadata"]["name"]: each["metadata"]["resourceVersion"]
        for each in kubectl.list("automations.rps-maestro.io")
    }


def restart_writes(kubectl: Kubectl, release: Kubectl) -> int:
    """How many Automations an operator restart wrote to."""
    before = versions(kubectl)
    release("rollout", "restart", "deployment/maestro-operator")
    release("rollout", "status", "deployment/maestro-operator", "--timeout=180s")
    time.sleep(45)  # its first sweep and a second one
    after = versions(kubectl)
    return sum(before[name] != after.get(name) for name in before)


def _row(what: str, values: list[float]) -> str:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    figures = (statistics.median(ordered), p95, ordered[-1])
    return f"| {what} | {' | '.join(f'{each * 1000:.0f}' for each in figures)} | {len(ordered)} |"


def measure(rounds: int, count: int, show: Callable[[str], None] = print) -> None:
    kubectl, release = Kubectl(NAMESPACE), Kubectl(RELEASE)
    api = Api(secret(f"{RELEASE}-auth", "admin-token"))
    empty(kubectl)
    try:
        show("| what | p50 ms | p95 ms | max ms | rounds |\n|---|---|---|---|---|")
        show(_row("apply → Ready", apply_to_ready(kubectl, rounds)))
        show(_row("execute → start, idle worker", execute_to_start(kubectl, api, rounds)))
        created, ready = thousand(count)
        show(
            f"\n{count} Automations with a queue each: created in {created:.1f} s, Ready after {ready:.1f} s."
        )
        show(f"An operator restart over them wrote to {restart_writes(kubectl, release)} of them.")
    finally:
        empty(kubectl)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--count", type=int, default=1000, help="how many Automations are applied at once")
    arguments = parser.parse_args()
    measure(arguments.rounds, arguments.count)


if __name__ == "__main__":
    main()
