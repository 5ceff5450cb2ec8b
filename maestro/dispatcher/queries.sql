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
     (SELECT min(due_at) AS oldest FROM schedules WHERE due_at <= now()) schedules

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

-- name: end_attempts
-- Attempts that nobody hears of any more, or that were asked to stop for their time and did not within two minutes.
-- Both count from the start of the service's own clock at the earliest, and while no api beats, not at all. Who never
-- polled may be silent for two hours. A lost worker's job is pending again at once, its attempt still open: should it
-- finish after all, that is taken.
WITH moment AS (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
), clock AS (
    SELECT up_since FROM service_clock, moment WHERE last_beat >= now - interval '30 s'
), over AS (
    SELECT j.id, j.automation_id, j.attempt, j.attempt - j.released AS attempts, j.timed_out_at,
           j.cancellation_requested_at IS NOT NULL AND j.timed_out_at IS NULL AS to_cancel,
           CASE WHEN j.timed_out_at IS NULL THEN 'WORKER_LOST' ELSE 'JOB_TIMEOUT' END AS failed_class,
           a.retry_policy, a.max_concurrency
    FROM jobs j JOIN automations a ON a.id = j.automation_id CROSS JOIN moment CROSS JOIN clock
    WHERE j.status = 'running'
      AND (greatest(j.last_heartbeat_at, clock.up_since) < moment.now - make_interval(
               secs => CASE WHEN j.polled THEN a.heartbeat_timeout_seconds
                            ELSE greatest(a.heartbeat_timeout_seconds, 7200) END)
           OR j.attempt_deadline < moment.now - interval '120 s'
               AND coalesce(j.timed_out_at, j.cancellation_requested_at) < moment.now - interval '120 s'
               AND clock.up_since < moment.now - interval '120 s')
    ORDER BY j.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF j SKIP LOCKED
), judged AS (
    SELECT over.*,
           CASE WHEN to_cancel THEN 'Cancel' ELSE after_failure(retry_policy, failed_class, attempts) END AS action
    FROM over
), unpaused AS (
    SELECT id FROM automations
    WHERE paused_at IS NULL AND id IN (SELECT automation_id FROM judged WHERE action = 'Suspend')
    ORDER BY id
    FOR NO KEY UPDATE
), paused AS (
    UPDATE automations
    SET paused_at = now(), paused_reason = format('RetryRule: A job failed with %%s.', judged.failed_class)
    FROM unpaused, judged
    WHERE automations.id = unpaused.id AND judged.automation_id = unpaused.id AND judged.action = 'Suspend'
)
UPDATE jobs
SET status = CASE judged.action WHEN 'Cancel' THEN 'canceled' WHEN 'Retry' THEN 'pending' ELSE 'failed' END,
    result = CASE
        WHEN judged.action IN ('Cancel', 'Retry') THEN jobs.result
        WHEN judged.failed_class = 'JOB_TIMEOUT' THEN timeout_result(NULL)
        ELSE jsonb_build_object('error_class', 'WORKER_LOST', 'error',
            format('The worker was lost in attempt %%s and the retryPolicy allows no further one.', jobs.attempt))
    END,
    completed_at = CASE WHEN judged.action <> 'Retry' THEN now() END,
    attempt_open = judged.action = 'Retry' AND judged.timed_out_at IS NULL,
    attempt_deadline = NULL,
    timed_out_at = CASE WHEN judged.action <> 'Retry' THEN jobs.timed_out_at END,
    cancellation_requested_at = CASE WHEN judged.action <> 'Retry' THEN jobs.cancellation_requested_at END,
    waits_for_slot = judged.action = 'Retry' AND judged.timed_out_at IS NOT NULL
        AND judged.max_concurrency IS NOT NULL,
    publish_due_at = CASE WHEN judged.action = 'Retry'
        THEN now() + CASE WHEN judged.timed_out_at IS NULL THEN interval '0'
                          ELSE retry_delay(judged.retry_policy, judged.attempts) END END
FROM judged
WHERE jobs.id = judged.id
RETURNING jobs.id, jobs.status

-- name: ask_to_stop
-- Running attempts whose time is over are asked to stop; those that somebody canceled have been asked.
WITH overdue AS (
    SELECT id FROM jobs
    WHERE attempt_deadline <= coalesce(%(now)s::timestamptz, now()) AND status = 'running'
      AND timed_out_at IS NULL AND cancellation_requested_at IS NULL
    ORDER BY id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs
SET timed_out_at = coalesce(%(now)s::timestamptz, now()),
    cancellation_requested_at = coalesce(%(now)s::timestamptz, now())
FROM overdue WHERE jobs.id = overdue.id
RETURNING jobs.id, jobs.status

-- name: fail_unstarted
-- Jobs that nobody started in the time their automation gives them.
WITH overdue AS (
    SELECT id FROM jobs
    WHERE start_deadline <= coalesce(%(now)s::timestamptz, now()) AND status = 'pending' AND attempt = 0
    ORDER BY id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs
SET status = 'failed', completed_at = now(), publish_due_at = NULL, waits_for_slot = false,
    result = jsonb_build_object('error_class', 'JOB_TIMEOUT', 'error',
        'No worker started the job within the automation''s startDeadlineSeconds.')
FROM overdue WHERE jobs.id = overdue.id
RETURNING jobs.id, jobs.status

-- name: queues_to_look_at
-- The queues in which messages of pending jobs should be, the least lately seen first.
SELECT a.queue
FROM (SELECT DISTINCT automation_id FROM jobs WHERE status = 'pending') AS open
JOIN automations a ON a.id = open.automation_id
LEFT JOIN queue_states ON queue_states.queue = a.queue
GROUP BY a.queue
ORDER BY min(queue_states.seen_at) NULLS FIRST
LIMIT %(limit)s

-- name: note_queues
-- What was seen of queues just now.
INSERT INTO queue_states AS known (queue, ready, consumers, seen_at, empty_since)
SELECT queue, ready, consumers, moment, CASE WHEN ready = 0 THEN moment END
FROM unnest(%(queues)s::text[], %(ready)s::integer[], %(consumers)s::integer[])
         AS seen (queue, ready, consumers),
     coalesce(%(now)s::timestamptz, now()) AS moment
ORDER BY queue
ON CONFLICT (queue) DO UPDATE SET
    ready = excluded.ready, consumers = excluded.consumers, seen_at = excluded.seen_at,
    empty_since = CASE WHEN excluded.ready = 0 THEN coalesce(known.empty_since, excluded.empty_since) END

-- name: owe_lost
-- Pending jobs with nothing owed that were published a minute ago or more, into a queue that has been seen empty for
-- a minute: their messages are lost, and owed again. A worker that holds messages without starting their jobs makes
-- them look lost as well, so each job is given twice as long every time.
WITH lost AS (
    SELECT j.id
    FROM jobs j
    JOIN automations a ON a.id = j.automation_id
    JOIN queue_states q ON q.queue = a.queue
    CROSS JOIN LATERAL (SELECT coalesce(%(now)s::timestamptz, now()) AS now) AS moment
    WHERE j.status = 'pending' AND j.publish_due_at IS NULL AND NOT j.waits_for_slot
      AND a.queue = ANY(%(queues)s::text[])
      AND q.empty_since <= moment.now - interval '60 s'
      AND coalesce(j.settled_at, j.created_at)
          <= moment.now - interval '60 s' * power(2, least(j.losses, 6))
    ORDER BY j.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE jobs SET publish_due_at = now(), losses = least(jobs.losses + 1, 100)
FROM lost WHERE jobs.id = lost.id
RETURNING jobs.id

-- name: bury
-- Dead letters. The job of one fails if it waits for nothing but this message; one that is to be published anyhow, or
-- runs, or has ended, is left alone. The ids of all jobs there are come back.
WITH letters AS (
    SELECT DISTINCT ON (id) id, queue, reason
    FROM unnest(%(ids)s::uuid[], %(queues)s::text[], %(reasons)s::text[]) AS letters (id, queue, reason)
), locked AS (
    SELECT j.id, j.status, j.publish_due_at, j.waits_for_slot
    FROM jobs j JOIN letters ON letters.id = j.id
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), failed AS (
    UPDATE jobs
    SET status = 'failed', completed_at = now(), attempt_open = false,
        result = jsonb_build_object('error_class', 'UNKNOWN', 'error',
            format('The job''s message was refused or dropped in the queue %%s (%%s) before a worker started it.',
                   letters.queue, letters.reason))
    FROM letters JOIN locked ON locked.id = letters.id
    WHERE jobs.id = letters.id AND locked.status = 'pending' AND locked.publish_due_at IS NULL
      AND NOT locked.waits_for_slot
    RETURNING jobs.id
)
SELECT locked.id, failed.id IS NOT NULL AS failed FROM locked LEFT JOIN failed ON failed.id = locked.id

-- name: keep_letters
-- Dead letters that tell of no job there is.
INSERT INTO dead_letters (queue, reason, job_id, headers, body)
SELECT queue, reason, job_id, headers::jsonb, body
FROM unnest(%(queues)s::text[], %(reasons)s::text[], %(job_ids)s::uuid[], %(headers)s::text[], %(bodies)s::bytea[])
    AS letters (queue, reason, job_id, headers, body)

-- name: delete_old_jobs
-- Jobs that ended long ago, some at a time, with their log lines. Ids are in order of creation, so the old ones are
-- found at the beginning.
WITH old AS (
    SELECT id FROM jobs
    WHERE id < uuid7_floor(now() - make_interval(days => %(days)s)) AND status NOT IN ('pending', 'running')
      AND completed_at < now() - make_interval(days => %(days)s)
    ORDER BY id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), lines AS (
    DELETE FROM job_logs USING old WHERE job_logs.job_id = old.id
)
DELETE FROM jobs USING old WHERE jobs.id = old.id

-- name: delete_old_occurrences
-- What was decided of instants long ago, some at a time. What waits has not been decided; what Previous moved is met
-- once more at its own time, and must be known then.
DELETE FROM occurrences USING (
    SELECT id FROM occurrences
    WHERE decided_at < now() - make_interval(days => %(days)s) AND outcome <> 'waiting'
      AND coalesce(last_nominal_at, nominal_at) < now() - make_interval(days => %(days)s)
    ORDER BY decided_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS old
WHERE occurrences.id = old.id

-- name: delete_expired_keys
-- Idempotency keys whose day is over.
DELETE FROM idempotency_keys USING (
    SELECT caller, route, key FROM idempotency_keys WHERE expires_at <= now() LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS expired
WHERE (idempotency_keys.caller, idempotency_keys.route, idempotency_keys.key)
      = (expired.caller, expired.route, expired.key)

-- name: delete_old_letters
-- Dead letters as old as jobs may grow.
DELETE FROM dead_letters WHERE received_at < now() - make_interval(days => %(days)s)

-- name: old_partitions
-- Partitions of log lines whose jobs were all made long enough ago, none of them still open.
SELECT name FROM (
    SELECT child.relname AS name, to_date(substring(child.relname FROM 10), 'YYYYMMDD') AS monday
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = 'job_logs'::regclass AND child.relname ~ '^job_logs_[0-9]{8}$'
) AS partitions
CROSS JOIN LATERAL (
    SELECT monday::timestamp AT TIME ZONE 'UTC' AS began, (monday + 7)::timestamp AT TIME ZONE 'UTC' AS ended
) AS week
WHERE ended <= now() - make_interval(days => %(days)s)
  AND NOT EXISTS (SELECT FROM jobs WHERE status IN ('pending', 'running')
                  AND id >= uuid7_floor(began) AND id < uuid7_floor(ended))
ORDER BY name

-- name: lock_patience
-- Dropping a partition locks its whole table: rather try again later than make every log line wait.
SELECT set_config('lock_timeout', '2s', true)

-- name: delete_other_lines
-- Old log lines that no weekly partition holds, some at a time.
DELETE FROM job_logs_other USING (
    SELECT job_id, id FROM job_logs_other AS line
    WHERE job_id < uuid7_floor(now() - make_interval(days => %(days)s))
      AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = line.job_id AND jobs.status IN ('pending', 'running'))
    ORDER BY job_id
    LIMIT %(limit)s
) AS old
WHERE job_logs_other.job_id = old.job_id AND job_logs_other.id = old.id
