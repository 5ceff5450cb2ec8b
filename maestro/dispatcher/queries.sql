-- name: lateness
-- How much is due and not done, and since when. A job's end is seen with its commit and bears the instant its
-- transaction began at: the ends of the last 10 s are not all there yet.
SELECT now() - interval '10 s' AS countable_until,
       debts.overdue,
       coalesce(extract(epoch FROM now() - debts.oldest), 0)::float AS pay_seconds,
       coalesce(extract(epoch FROM now() - schedules.oldest), 0)::float AS fire_seconds
FROM (SELECT count(*) AS overdue, min(j.publish_due_at) AS oldest
      FROM jobs j JOIN automations a ON a.id = j.automation_id
      WHERE j.publish_due_at <= now() AND j.status = 'pending' AND NOT j.waits_for_slot
        AND NOT a.suspended AND a.paused_at IS NULL) debts,
     (SELECT min(next_run_at) AS oldest FROM schedules WHERE next_run_at <= now()) schedules

-- name: open_jobs
-- Open jobs by automation and status, the automations with the most first.
SELECT a.namespace || '/' || a.name AS automation, j.status, j.jobs
FROM (SELECT automation_id, status, count(*) AS jobs
      FROM jobs WHERE status IN ('pending', 'running')
      GROUP BY automation_id, status) j
JOIN automations a ON a.id = j.automation_id
ORDER BY j.jobs DESC

-- name: ended_jobs
-- Jobs that ended between two instants, by automation and status: one look into the index for each automation.
SELECT a.namespace || '/' || a.name AS automation, ended.status, ended.jobs
FROM automations a
CROSS JOIN LATERAL (SELECT status, count(*) AS jobs
                    FROM jobs
                    WHERE automation_id = a.id AND completed_at > %(since)s AND completed_at <= %(until)s
                    GROUP BY status) ended

-- name: partitions
-- The log partitions of the next eight weeks. Making one locks the whole table: rather give up and try again
-- than make every log line wait behind a long transaction.
SELECT set_config('lock_timeout', '2s', true), ensure_job_log_partitions(8)
