-- Statistics of jobs that have ended. They all read jobs_ended and nothing else.

-- name: moment
-- Now, by the clock that jobs end by. The tally that follows holds as much as it needs in memory, and leaves the other
-- processors to whoever waits for an answer.
SELECT now() AS now, set_config('work_mem', '64MB', true), set_config('max_parallel_workers_per_gather', '0', true)

-- name: tally
-- How the jobs ended that did so within some parts of time: by automation, with how long they ran; by slot of time
-- (the number of its first instant among those given, 0 for what is earlier); by error class. The subquery stays as it
-- stands for its OFFSET: for each part and automation a range of the index.
WITH counted AS (
    SELECT part.number AS part, automations.id AS automation_id, ended.slot, ended.error_class, ended.duration,
           grouping(automations.id, ended.slot) AS kind,
           count(*) AS total,
           count(*) FILTER (WHERE ended.status IN ('completed', 'completed_no_invoices')) AS succeeded,
           count(*) FILTER (WHERE ended.status = 'failed') AS failed,
           count(*) FILTER (WHERE ended.status = 'canceled') AS canceled,
           count(*) FILTER (WHERE ended.scheduled) AS scheduled
    FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) WITH ORDINALITY AS part (begins, ends, number)
    CROSS JOIN automations
    CROSS JOIN LATERAL (
        SELECT jobs.status, jobs.error_class, jobs.schedule_id IS NOT NULL AS scheduled,
               width_bucket(jobs.completed_at, %(slots)s::timestamptz[]) AS slot,
               CASE WHEN jobs.status <> 'canceled' THEN
                   ceil(ln(greatest(date_part('epoch', jobs.completed_at - jobs.started_at), 0.001))
                        / ln(%(growth)s::float8))::integer
               END AS duration
        FROM jobs
        WHERE jobs.automation_id = automations.id
          AND jobs.completed_at >= part.begins AND jobs.completed_at < part.ends
        OFFSET 0
    ) AS ended
    GROUP BY part.number, GROUPING SETS ((automations.id, ended.duration), (ended.slot), (ended.error_class))
)
SELECT part, CASE kind WHEN 1 THEN 'automation' WHEN 2 THEN 'slot' ELSE 'error_class' END AS kind,
       automation_id, slot, error_class, sum(total)::bigint AS total, sum(succeeded)::bigint AS succeeded,
       sum(failed)::bigint AS failed, sum(canceled)::bigint AS canceled, sum(scheduled)::bigint AS scheduled,
       array_agg(duration) FILTER (WHERE duration IS NOT NULL) AS durations,
       array_agg(total) FILTER (WHERE duration IS NOT NULL) AS counts
FROM counted
GROUP BY part, kind, automation_id, slot, error_class

-- name: open
-- How many jobs wait and run.
SELECT count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'running') AS running
FROM jobs WHERE status IN ('pending', 'running')

-- name: latest
-- How the latest jobs of each automation ended, the last one first, and when the last one ran.
SELECT automations.id, automations.display_name AS name, automations.retired_at IS NOT NULL AS retired,
       coalesce(latest.statuses, '{}') AS statuses, latest.ran_at
FROM automations
CROSS JOIN LATERAL (
    SELECT array_agg(status ORDER BY completed_at DESC) AS statuses,
           (array_agg(coalesce(started_at, completed_at) ORDER BY completed_at DESC))[1] AS ran_at
    FROM (
        SELECT jobs.status, jobs.started_at, jobs.completed_at FROM jobs
        WHERE jobs.automation_id = automations.id AND jobs.completed_at IS NOT NULL
        ORDER BY jobs.completed_at DESC
        LIMIT %(count)s
    ) AS last
) AS latest
WHERE automations.uid IS NOT NULL
ORDER BY automations.id
