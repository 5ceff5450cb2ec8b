"""What is measured, in the order of the table: each row's title, its unit, and what it has to reach."""

from dataclasses import dataclass

from bench.service.load import (
    BATCH,
    CLIENTS,
    FEW_JOBS,
    LINES_A_CALL,
    MANY_JOBS,
    READ_JOBS,
    READERS,
    SLOTS,
    STATISTICS,
)


@dataclass(frozen=True)
class Row:
    """`goal` is the least figure, or the most where less is better."""

    key: str
    title: str
    unit: str
    goal: float | None = None

    @property
    def less_is_better(self) -> bool:
        return self.unit in ("ms", "s", "statements/s")


_PAGE = f"page by key, {MANY_JOBS:,} jobs"
_STREAM = f"{READERS} SSE readers on {READ_JOBS} jobs"

ROWS = [
    Row("execute", f"execute, {CLIENTS} clients", "jobs/s", 2400),
    Row("execute_published", "… from the last reply until the broker had confirmed all", "s"),
    Row("execute_lone_p50", "execute, a lone client: p50", "ms", 3),
    Row("enqueue", "one process that enqueues one job after the other", "jobs/s"),
    Row("execute_batch", f"execute/batch, {BATCH} jobs a call, {CLIENTS} clients", "jobs/s"),
    Row("execute_batch_published", "… from the last reply until the broker had confirmed all", "s"),
    Row("lifecycle", f"lifecycle with 10 single log lines, 13 calls a job, {CLIENTS} clients", "jobs/s", 220),
    Row("lifecycle_batch", f"lifecycle through the batch calls, {CLIENTS} clients", "jobs/s", 700),
    Row("no_op", f"no-op jobs through a worker process of {SLOTS} slots", "jobs/s"),
    Row("to_socket", "execute → message on the worker's socket: p50", "ms", 10),
    Row("to_start", "enqueue → an idle worker begins the job: p50", "ms"),
    Row("lines", f"single log lines, {CLIENTS} clients", "lines/s"),
    Row("lines_batch", f"batched log lines, {LINES_A_CALL} a call, {CLIENTS} clients", "lines/s", 20_000),
    Row("list", f"GET /jobs?limit=50, {FEW_JOBS:,} jobs, {CLIENTS} clients", "requests/s", 1200),
    Row("pages", f"{_PAGE}: p99", "ms", 10),
    Row("pages_automation", f"{_PAGE}, of one automation: p99", "ms", 10),
    Row("pages_status", f"{_PAGE}, of the failed ones: p99", "ms", 10),
    Row("pages_user", f"{_PAGE}, of one user: p99", "ms", 10),
    Row("pages_automation_user", f"{_PAGE}, of one automation and user: p99", "ms", 10),
    *(Row(path, f"GET /{path}, {MANY_JOBS:,} jobs: p99", "ms", 50) for path in STATISTICS),
    Row("metrics_first", "the first call of each of these after the api started", "ms"),
    Row("live", f"{_STREAM}, lines of all jobs at once: line to reader p99", "ms", 250),
    Row("live_sql", "… SQL statements of the api but for keeping the lines", "statements/s", 20),
    Row("live_sql_writes", "… and for keeping them", "statements/s"),
    Row("live_spread", f"{_STREAM}, lines spread over time: line to reader p99", "ms", 250),
    Row("live_spread_sql", "… SQL statements of the api but for keeping the lines", "statements/s", 20),
    Row("live_spread_sql_writes", "… and for keeping them", "statements/s"),
    Row("live_idle_sql", f"{_STREAM}, no lines: SQL statements of the api", "statements/s", 20),
]

CALIBRATION = [Row("null_call", "execute", "requests/s"), Row("null_lifecycle", "lifecycle", "jobs/s")]
