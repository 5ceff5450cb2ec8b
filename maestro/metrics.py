"""Every Prometheus metric of Maestro's processes: its name with its unit, what it tells, its labels.

None is in the library's default registry. A process shows what it can speak of (`API`, `DISPATCHER`, …), so
that no operator claims that 0 debts are overdue. Labels have few values: routes are templates, and of
automations only so many are told by name.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.metrics_core import Metric

from maestro.errors import BadInput, MaestroError

log = logging.getLogger(__name__)

# When each series began, as a series of its own: nobody asks, and it doubles what is scraped.
disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER: Final = "other"
"""The label of whatever is not told apart: unknown paths, automations beyond the first so many."""

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def _counter(name: str, told: str, *labels: str) -> Counter:
    return Counter(name, told, labels, registry=None)


def _gauge(name: str, told: str, *labels: str) -> Gauge:
    return Gauge(name, told, labels, registry=None)


def _histogram(name: str, told: str, *labels: str, buckets: Sequence[float] = _QUICK) -> Histogram:
    return Histogram(name, told, labels, registry=None, buckets=buckets)


# The api.

HTTP_REQUESTS = _counter(
    "maestro_http_requests_total",
    "Requests answered. The route is a template; other: no such path, or refused before it was looked for.",
    "method",
    "route",
    "status",
)
HTTP_SECONDS = _histogram(
    "maestro_http_request_seconds",
    "From a request's head to the end of its reply; of a stream, how long it was open.",
    "method",
    "route",
)
JOB_QUEUE_TO_START = _histogram(
    "maestro_job_queue_to_start_seconds", "From a job's acceptance to its first start.", buckets=_LONG
)
STREAMS = _gauge("maestro_streams", "Live log streams that are open.")
FLUSH_ROWS = _histogram(
    "maestro_flush_rows", "Calls that one flush of the coalescer took along.", "lane", buckets=_ROWS
)
FLUSH_SECONDS = _histogram("maestro_flush_seconds", "From the start of a flush to its commit.", "lane")

# Whoever publishes: api and dispatcher.

PUBLISH_CONFIRMED = _counter("maestro_publish_confirmed_total", "Messages that the broker has taken.")
PUBLISH_RETURNED = _counter(
    "maestro_publish_returned_total", "Messages that came back since their queue does not exist."
)
PUBLISH_NACKED = _counter("maestro_publish_nacked_total", "Messages that the broker refused to take.")
PUBLISH_IN_FLIGHT = _gauge("maestro_publish_in_flight", "Messages that wait to be sent or confirmed.")
PUBLISHER_CONNECTED = _gauge("maestro_publisher_connected", "1 while the publisher has its connection.")

# Whoever speaks to PostgreSQL: api, dispatcher and operator.

POOL_LIMIT = _gauge("maestro_database_pool_limit", "Connections that the pool may have.")
POOL_SIZE = _gauge("maestro_database_pool_size", "Connections that the pool has.")
POOL_AVAILABLE = _gauge("maestro_database_pool_available", "Connections that nobody uses.")
POOL_WAITING = _gauge("maestro_database_pool_waiting", "Callers that wait for a connection.")
POOL_WAITS = _counter("maestro_database_pool_waits_total", "Callers that had to wait for a connection.")
POOL_WAIT_SECONDS = _counter("maestro_database_pool_wait_seconds_total", "How long they waited.")
POOL_LOST = _counter("maestro_database_connections_lost_total", "Connections found dead.")

# Whoever speaks to Kubernetes: api and operator.

KUBERNETES_REQUESTS = _counter(
    "maestro_kubernetes_requests_total",
    "Requests to the Kubernetes API server, watches left out; code away: it was not reached.",
    "verb",
    "code",
)

# The dispatcher. The first five come from the database, so that each dispatcher tells the same.

JOBS = _gauge("maestro_jobs", "Open jobs, pending or running.", "automation", "status")
JOBS_ENDED = _counter(
    "maestro_jobs_ended_total", "Jobs that have ended since this dispatcher began.", "automation", "status"
)
DEBTS_OVERDUE = _gauge("maestro_debts_overdue", "Jobs that should have been published by now.")
DISPATCHER_LAG = _gauge(
    "maestro_dispatcher_lag_seconds",
    "How long the oldest due schedule (fire) and the oldest due debt (pay) have been due.",
    "duty",
)
OCCURRENCES = _counter(
    "maestro_occurrences_total",
    "Instants of schedules that this dispatcher decided, by what became of them; one that waits comes twice.",
    "outcome",
)
SCHEDULE_LAG = _histogram(
    "maestro_schedule_lag_seconds", "From when a run was due to the making of its job.", buckets=_LONG
)
RESCUES = _counter(
    "maestro_rescues_total",
    "Attempts ended for their worker's silence or their time, by what became of the job.",
    "outcome",
)
STEP_SECONDS = _histogram("maestro_dispatcher_step_seconds", "What one step of a duty took.", "step")
STEP_FAILURES = _counter(
    "maestro_dispatcher_step_failures_total", "Steps that failed, a dependency's absence included.", "step"
)

# The operator.

SYNCS = _counter(
    "maestro_syncs_total",
    "Syncs of a resource: done, waits (a dependency is away) or failed (unforeseen).",
    "kind",
    "outcome",
)
SYNC_SECONDS = _histogram("maestro_sync_seconds", "What one sync took.", "kind")
WORKQUEUE_DEPTH = _gauge("maestro_workqueue_depth", "Resources that wait for their sync.")
SWEEP_AGE = _gauge("maestro_sweep_age_seconds", "How long ago a sweep last went through.")

# A worker.

WORKER_JOBS = _counter("maestro_worker_jobs_total", "Jobs this worker ran, by their outcome.", "status")
WORKER_BUSY = _gauge("maestro_worker_busy", "1 while the worker has a job in hand.")
WORKER_LINES = _counter("maestro_worker_log_lines_total", "Log lines that the api took.")
WORKER_LINES_LOST = _counter("maestro_worker_log_lines_lost_total", "Log lines that the api never took.")
WORKER_BACKLOG = _gauge("maestro_worker_log_backlog_lines", "Log lines that wait to be delivered.")

Shown = tuple[Counter | Gauge | Histogram, ...]

_PUBLISHER: Shown = (
    PUBLISH_CONFIRMED,
    PUBLISH_RETURNED,
    PUBLISH_NACKED,
    PUBLISH_IN_FLIGHT,
    PUBLISHER_CONNECTED,
)
_POOL: Shown = (
    POOL_LIMIT,
    POOL_SIZE,
    POOL_AVAILABLE,
    POOL_WAITING,
    POOL_WAITS,
    POOL_WAIT_SECONDS,
    POOL_LOST,
)

API: Shown = (
    HTTP_REQUESTS,
    HTTP_SECONDS,
    JOB_QUEUE_TO_START,
    STREAMS,
    FLUSH_ROWS,
    FLUSH_SECONDS,
    KUBERNETES_REQUESTS,
    *_PUBLISHER,
    *_POOL,
)
DISPATCHER: Shown = (
    JOBS,
    JOBS_ENDED,
    DEBTS_OVERDUE,
    DISPATCHER_LAG,
    OCCURRENCES,
    SCHEDULE_LAG,
    RESCUES,
    STEP_SECONDS,
    STEP_FAILURES,
    *_PUBLISHER,
    *_POOL,
)
OPERATOR: Shown = (SYNCS, SYNC_SECONDS, WORKQUEUE_DEPTH, SWEEP_AGE, KUBERNETES_REQUESTS, *_POOL)
WORKER: Shown = (WORKER_JOBS, WORKER_BUSY, WORKER_LINES, WORKER_LINES_LOST, WORKER_BACKLOG)

# A rate needs a value before the first event: those whose labels are known begin with 0.
for _outcome in ("pending", "failed", "canceled"):
    RESCUES.labels(_outcome)
for _outcome in ("waiting", "fired", "shifted", "late", "caught_up", "skipped", "merged", "missed"):
    OCCURRENCES.labels(_outcome)


class Registry(CollectorRegistry):
    """The metrics of one process. Before each scrape `reads` set the gauges whose truth is kept elsewhere."""

    def __init__(self, shown: Shown, *reads: Callable[[], None]) -> None:
        super().__init__()
        ProcessCollector(registry=self)
        GCCollector(registry=self)
        for metric in shown:
            self.register(metric)
        self._reads = reads

    def collect(self) -> Iterable[Metric]:
        for read in self._reads:
            read()
        return super().collect()


@contextmanager
def served(registry: CollectorRegistry, port: int) -> Iterator[None]:
    """Answer scrapes on `port` from a thread while the block lasts; 0: don't. Raises BadInput."""
    if not port:
        yield
        return
    try:
        # One at a time: whoever hangs on it keeps nobody but the next scrape waiting.
        server = make_server("0.0.0.0", port, make_wsgi_app(registry), _Server, _Handler)  # noqa: S104
    except OSError as error:
        raise BadInput(f"MAESTRO_METRICS_PORT: port {port} can't be served: {error}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # A client that hangs on it must not hold up the end of the process either.
        threading.Thread(target=server.shutdown, daemon=True).start()
        thread.join(1.0)
        server.server_close()


class _Server(WSGIServer):
    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a scrape ended early", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = 5.0
    """Seconds that a client may keep silent."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes are not worth a line."""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_noters: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}


def note_request(method: str, route: str, status: int, seconds: float) -> None:
    """A request was answered. On the path of every call: its labels are looked up once, not each time."""
    if method not in _METHODS:
        method = OTHER
    key = (method, route, status)
    noters = _noters.get(key)
    if noters is None:
        noters = _noters[key] = (
            HTTP_REQUESTS.labels(method, route, status).inc,
            HTTP_SECONDS.labels(method, route).observe,
        )
    count, observe = noters
    count()
    observe(seconds)


def note_start(waited_since: datetime | None) -> None:
    """A job was started; for the first time when it is known since when it waited."""
    if waited_since:
        waited = datetime.now(UTC) - waited_since
        JOB_QUEUE_TO_START.observe(max(waited.total_seconds(), 0))  # two clocks, the database's and ours


@contextmanager
def sync_of(kind: str) -> Iterator[None]:
    """Times a sync and notes how it ended."""
    try:
        with SYNC_SECONDS.labels(kind).time():
            yield
    except MaestroError:
        SYNCS.labels(kind, "waits").inc()
        raise
    except Exception:
        SYNCS.labels(kind, "failed").inc()
        raise
    else:
        SYNCS.labels(kind, "done").inc()
