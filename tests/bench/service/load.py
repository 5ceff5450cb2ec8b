"""How much of everything; the report says so too."""

CLIENTS = 32
BODY = '{"month":"2026-11"}'
BATCH = 100
"""Jobs in one call of execute/batch."""
JOBS_A_BATCH = 20
"""In the lifecycle by batches, where each client then runs them one by one."""
LINES_A_CALL = 100
SLOTS = 32
"""Jobs under way at once in a worker process."""
CELERY_SLOTS = 8
"""Celery's are processes."""
READERS, READ_JOBS = 500, 50
LINE_INTERVAL = "1s"
FEW_JOBS, MANY_JOBS = 10_000, 1_000_000
AUTOMATIONS = 50
"""Over which the jobs of the past are spread."""
_STATISTICS = ("metrics", "metrics/jobs-per-hour", "metrics/automations", "metrics/error-classes")
STATISTICS = tuple(f"{path}?range={days}" for path in _STATISTICS for days in ("24h", "30d"))
