-- name: now
-- The one clock that every process goes by.
SELECT now() AS now

-- name: by_name
-- A schedule by its resource's name, retired or not.
SELECT s.*, a.id AS automation_id, j.status AS last_job_status
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
LEFT JOIN jobs j ON j.id = s.last_job_id
WHERE s.namespace = %(namespace)s AND s.name = %(name)s

-- name: by_id
-- A schedule by its integer id, retired or not.
SELECT s.*, a.id AS automation_id, j.status AS last_job_status
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
LEFT JOIN jobs j ON j.id = s.last_job_id
WHERE s.id = %(id)s

-- name: list_all
-- Every schedule whose resource exists; the suspended ones only when asked for.
SELECT s.*, a.id AS automation_id, j.status AS last_job_status
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
LEFT JOIN jobs j ON j.id = s.last_job_id
WHERE s.retired_at IS NULL AND (%(include_disabled)s OR NOT s.suspended)
ORDER BY s.id

-- name: upsert
-- Take over what a resource says, unless the row has seen this generation. A change of when it runs, and a new
-- resource under an old name, count from now; any other change leaves the next run where it is.
INSERT INTO schedules AS s (namespace, name, uid, generation, automation_name, cron, time_zone, parameters,
                            suspended, next_run_at)
VALUES (%(namespace)s, %(name)s, %(uid)s, %(generation)s, %(automation_name)s, %(cron)s, %(time_zone)s,
        %(parameters)s, %(suspended)s, %(next_run_at)s)
ON CONFLICT ON CONSTRAINT schedules_name_key DO UPDATE SET
    uid = excluded.uid,
    generation = excluded.generation,
    automation_name = excluded.automation_name,
    cron = excluded.cron,
    time_zone = excluded.time_zone,
    parameters = excluded.parameters,
    suspended = excluded.suspended,
    next_run_at = CASE
        WHEN s.uid = excluded.uid AND s.retired_at IS NULL AND s.next_run_at IS NOT NULL
            AND (s.cron, s.time_zone, s.suspended) = (excluded.cron, excluded.time_zone, excluded.suspended)
        THEN s.next_run_at
        ELSE excluded.next_run_at
    END,
    retired_at = NULL,
    updated_at = now()
WHERE s.uid IS DISTINCT FROM excluded.uid OR s.generation < excluded.generation OR s.retired_at IS NOT NULL
    OR (s.next_run_at IS NULL AND NOT s.suspended)

-- name: retire
-- The resource is gone: nothing fires any more, the row keeps its id for a namesake. With a uid only that very
-- object, so that a namesake made since stays in service.
UPDATE schedules SET retired_at = now(), next_run_at = NULL, updated_at = now()
WHERE namespace = %(namespace)s AND name = %(name)s AND uid = coalesce(%(uid)s, uid) AND retired_at IS NULL

-- name: due
-- The schedules whose next run has come, held against other dispatchers, with what firing them needs.
SELECT s.id, s.namespace, s.name, s.cron, s.time_zone, s.parameters, s.next_run_at, s.automation_name,
       a.id AS automation_id, a.suspended OR a.paused_at IS NOT NULL AS automation_suspended,
       a.parameter_schema, a.default_params
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
WHERE s.next_run_at <= %(now)s
ORDER BY s.next_run_at
LIMIT %(limit)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: moved_on
-- The due schedules' next runs, and their last ones where a job came of them.
UPDATE schedules s SET
    next_run_at = u.next_run_at,
    last_run_at = coalesce(u.last_run_at, s.last_run_at),
    last_job_id = coalesce(u.last_job_id, s.last_job_id)
FROM unnest(%(ids)s::integer[], %(next_run_at)s::timestamptz[], %(last_run_at)s::timestamptz[],
            %(last_job_id)s::uuid[]) AS u (id, next_run_at, last_run_at, last_job_id)
WHERE s.id = u.id

-- name: next_due
-- Seconds until the next schedule is due; null when none ever is.
SELECT extract(epoch FROM min(next_run_at) - now())::float8 AS seconds FROM schedules
WHERE next_run_at IS NOT NULL
