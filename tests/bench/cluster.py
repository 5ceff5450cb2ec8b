"""Figures of the main path on the development cluster: `make bench` prints them as a table.

From apply to Ready (one object; 1,000 at once: by one `kubectl apply`, and by several clients, on the shared
queue and with a queue each), what an operator restart writes over those, and from execute to the start of an
idle worker, by the service's and the API server's records. Nothing is asserted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import datetime

from e2e import many
from e2e.cluster import NAMESPACE, RELEASE, Api, Kubectl, automation, empty, scripted, secret

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


def thousand(kubectl: Kubectl, count: int, show: Callable[[str], None]) -> None:
    """From the first create until all are Ready; the last ones stay."""
    show("")
    names = [f"bench-thousand-{number}" for number in range(count)]
    show(f"{count} Automations by kubectl apply: {many.apply(kubectl, map(many.labeled, names))}.")
    _clear(kubectl)
    show(f"{count} Automations on the shared queue: {many.create(map(many.labeled, names))}.")
    _clear(kubectl)
    own = (many.labeled(name, queueName=f"bench.{name}", deletionPolicy="Delete") for name in names)
    show(f"{count} Automations with a queue each: {many.create(own)}.")


def _clear(kubectl: Kubectl) -> None:
    """Delete all, and let the operator clear up after them."""
    empty(kubectl)
    time.sleep(20)


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
        thousand(kubectl, count, show)
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
