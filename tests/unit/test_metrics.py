"""The metrics' names and labels, and how a registry shows them."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest

from maestro import metrics
from maestro.errors import BrokerAway
from maestro.metrics import Registry

DEFINED = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
PROCESSES = {
    "api": metrics.API,
    "dispatcher": metrics.DISPATCHER,
    "operator": metrics.OPERATOR,
    "worker": metrics.WORKER,
}


def name(metric: Counter | Gauge | Histogram) -> str:
    [described] = metric.describe()
    return described.name + ("_total" if isinstance(metric, Counter) else "")


def labels(metric: Counter | Gauge | Histogram) -> tuple[str, ...]:
    return tuple(metric._labelnames)


def test_every_metric_is_shown_by_a_process_and_named_as_prometheus_wants() -> None:
    shown = [metric for process in PROCESSES.values() for metric in process]
    assert {name(metric) for metric in DEFINED} == {name(metric) for metric in shown}
    assert len({name(metric) for metric in DEFINED}) == len(DEFINED)
    for metric in DEFINED:
        assert re.fullmatch(r"maestro_[a-z_]+", name(metric))
        [described] = metric.describe()
        assert described.documentation.endswith(".")


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_shows_its_own_metrics_and_itself(process: str) -> None:
    text = generate_latest(Registry(PROCESSES[process])).decode()
    told = set(re.findall(r"# TYPE (maestro_\w+)", text))
    assert told == {name(metric) for metric in PROCESSES[process]}
    assert "process_resident_memory_bytes " in text
    assert "_created" not in text


def test_labels() -> None:
    assert {name(metric): labels(metric) for metric in DEFINED if labels(metric)} == {
        "maestro_http_requests_total": ("method", "route", "status"),
        "maestro_http_request_seconds": ("method", "route"),
        "maestro_flush_rows": ("lane",),
        "maestro_flush_seconds": ("lane",),
        "maestro_kubernetes_requests_total": ("verb", "code"),
        "maestro_jobs": ("automation", "status"),
        "maestro_jobs_ended_total": ("automation", "status"),
        "maestro_dispatcher_lag_seconds": ("duty",),
        "maestro_occurrences_total": ("outcome",),
        "maestro_rescues_total": ("outcome",),
        "maestro_dispatcher_step_seconds": ("step",),
        "maestro_dispatcher_step_failures_total": ("step",),
        "maestro_syncs_total": ("kind", "outcome"),
        "maestro_sync_seconds": ("kind",),
        "maestro_worker_jobs_total": ("status",),
    }


def test_operations_lists_every_metric_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert set(re.findall(r"`(maestro_[a-z_]+)`", text)) == {name(metric) for metric in DEFINED}
    in_alerts = set(re.findall(r"\((maestro_[a-z_]+)", text))
    assert len(in_alerts) == 3
    assert in_alerts <= {name(metric) for metric in DEFINED}


def test_what_is_kept_elsewhere_is_read_before_each_scrape() -> None:
    ages = iter([1.5, 2.5])
    registry = Registry(metrics.OPERATOR, lambda: metrics.SWEEP_AGE.set(next(ages)))
    assert "maestro_sweep_age_seconds 1.5" in generate_latest(registry).decode()
    assert "maestro_sweep_age_seconds 2.5" in generate_latest(registry).decode()


def requests(method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return Registry(metrics.API).get_sample_value("maestro_http_requests_total", labels) or 0


def test_a_request_is_counted_and_timed() -> None:
    before = requests("GET", "/counted", 200)
    metrics.note_request("GET", "/counted", 200, 0.004)
    metrics.note_request("GET", "/counted", 200, 0.3)
    assert requests("GET", "/counted", 200) - before == 2
    at_most = {"method": "GET", "route": "/counted", "le": "0.005"}
    assert Registry(metrics.API).get_sample_value("maestro_http_request_seconds_bucket", at_most) == 1


def test_methods_of_a_clients_making_are_one() -> None:
    before = requests("other", "/counted", 405)
    metrics.note_request("PROPFIND", "/counted", 405, 0.1)
    metrics.note_request("LINK", "/counted", 405, 0.1)
    assert requests("other", "/counted", 405) - before == 2


def test_only_a_first_start_tells_how_long_its_job_waited() -> None:
    def waited() -> tuple[float, float]:
        registry = Registry(metrics.API)
        found = [
            registry.get_sample_value(f"maestro_job_queue_to_start_seconds_{part}")
            for part in ("count", "sum")
        ]
        return found[0] or 0, found[1] or 0

    count, seconds = waited()
    metrics.note_start(None)
    metrics.note_start(datetime.now(UTC) - timedelta(minutes=2))
    metrics.note_start(datetime.now(UTC) + timedelta(minutes=2))  # by a clock that is ahead
    assert waited()[0] - count == 2
    assert 119 < waited()[1] - seconds < 180


def syncs() -> dict[str, float]:
    registry = Registry(metrics.OPERATOR)
    outcomes = ("done", "waits", "failed")
    found = {each: {"kind": "Kind", "outcome": each} for each in outcomes}
    return {each: registry.get_sample_value("maestro_syncs_total", found[each]) or 0 for each in outcomes}


def test_a_sync_is_done_waits_or_failed() -> None:
    before = syncs()
    with metrics.sync_of("Kind"):
        pass
    # Cut short, it had no outcome.
    for error in (BrokerAway(), KeyError("a bug"), KeyError("another"), asyncio.CancelledError()):
        with pytest.raises(type(error)), metrics.sync_of("Kind"):
            raise error
    assert {each: now - before[each] for each, now in syncs().items()} == {"done": 1, "waits": 1, "failed": 2}
