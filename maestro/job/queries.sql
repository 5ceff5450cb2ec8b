-- Statements on jobs and their log lines. Each takes arrays, so that many calls can share one statement and one
-- commit. Those that change several rows lock them first, in order of id: unordered ones deadlock.

-- name: accept
-- New jobs, owed from the start: whoever accepted them has 5 s to publish before the dispatcher does it. Those of an
-- automation with a maxConcurrency wait for a slot first.
-- A tick of a schedule that already has its job is left out.
WITH accepted AS (
    INSERT INTO jobs (id, automation_id, parameters, user_id, schedule_id, scheduled_for, priority, waits_for_slot,
                      start_deadline, publish_due_at)
    SELECT new.id, new.automation_id, new.parameters::jsonb, new.user_id, new.schedule_id, new.scheduled_for,
           coalesce(a.priority, 0), a.max_concurrency IS NOT NULL,
           now() + make_interval(secs => a.start_deadline_seconds),
           CASE WHEN a.max_concurrency IS NULL THEN now() + interval '5 s' END
    FROM unnest(%(ids)s::uuid[], %(automation_ids)s::integer[], %(parameters)s::text[], %(user_ids)s::text[],
                %(schedule_ids)s::integer[], %(scheduled_for)s::timestamptz[])
        AS new (id, automation_id, parameters, user_id, schedule_id, scheduled_for)
    LEFT JOIN automations a ON a.id = new.automation_id
    ON CONFLICT (schedule_id, scheduled_for) WHERE schedule_id IS NOT NULL DO NOTHING
    RETURNING *
)
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at, j.start_deadline,
       j.priority, j.released, j.error_class, j.progress, j.progress_message
FROM accepted j JOIN automations a ON a.id = j.automation_id
ORDER BY j.id

-- name: claim_keys
-- Takes the keys that are free or have expired, each for its new job. What another transaction is taking is waited
-- for; the keys are taken in order, so that two who take several never wait for each other.
INSERT INTO idempotency_keys AS known (caller, route, key, body_hash, job_id, expires_at)
SELECT caller, route, key, body_hash, job_id, now() + interval '24 hours'
FROM unnest(%(callers)s::text[], %(routes)s::text[], %(keys)s::text[], %(body_hashes)s::bytea[], %(job_ids)s::uuid[])
    AS asked (caller, route, key, body_hash, job_id)
ORDER BY caller, route, key
ON CONFLICT (caller, route, key) DO UPDATE
SET body_hash = excluded.body_hash, job_id = excluded.job_id, expires_at = excluded.expires_at
WHERE known.expires_at <= now()
RETURNING job_id

-- name: known_keys
-- What these keys stand for. A statement of its own: who took them may have committed after the claim began.
SELECT caller, route, key, body_hash, job_id
FROM idempotency_keys
JOIN unnest(%(callers)s::text[], %(routes)s::text[], %(keys)s::text[]) AS asked (caller, route, key)
    USING (caller, route, key)
WHERE expires_at > now()

-- name: owed_now
-- Those of these jobs that are to be published at once: owed, in possession of a slot, their automation not suspended.
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at, j.start_deadline,
       j.priority, j.released, j.error_class, j.progress, j.progress_message
FROM jobs j JOIN automations a ON a.id = j.automation_id
WHERE j.id = ANY(%(ids)s::uuid[]) AND j.publish_due_at IS NOT NULL AND j.status = 'pending' AND NOT j.waits_for_slot
  AND NOT a.suspended AND a.paused_at IS NULL
ORDER BY j.id

-- name: claim_owed
-- Debts that are due, the oldest first, moved 30 s ahead so that no other dispatcher pays them meanwhile.
WITH due AS (
    SELECT j.id
    FROM jobs j JOIN automations a ON a.id = j.automation_id
    WHERE j.publish_due_at <= now() AND j.status = 'pending' AND NOT j.waits_for_slot
      AND NOT a.suspended AND a.paused_at IS NULL
    ORDER BY j.publish_due_at
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF j SKIP LOCKED
), claimed AS (
    UPDATE jobs SET publish_due_at = now() + interval '30 s' FROM due WHERE jobs.id = due.id RETURNING jobs.*
)
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at, j.start_deadline,
       j.priority, j.released, j.error_class, j.progress, j.progress_message
FROM claimed j JOIN automations a ON a.id = j.automation_id
ORDER BY j.id

-- name: settle
-- The broker has these messages: clears each debt whose value is still the published one. Compared by a hashed
-- subplan (IS TRUE keeps it one): joined, the planner takes both lists for short ones and compares each with each.
WITH published AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(due_at)s::timestamptz[]) AS published (id, due_at)
), locked AS (
    -- By id alone: the planner would rather go through all debts, which it takes for few.
    SELECT id, status, publish_due_at FROM jobs WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE jobs SET publish_due_at = NULL, settled_at = now()
FROM locked
WHERE jobs.id = locked.id AND locked.status = 'pending'
  AND ((locked.id, locked.publish_due_at) IN (SELECT id, due_at FROM published)) IS TRUE

-- name: automations_in_wait
-- Automations with jobs that wait for a slot.
SELECT DISTINCT automation_id AS id FROM jobs WHERE waits_for_slot AND status = 'pending' ORDER BY automation_id

-- name: lock_automations
-- Whoever grants slots of these automations holds their rows, so that no two count the same free slot.
SELECT id FROM automations WHERE id = ANY(%(ids)s::integer[]) ORDER BY id FOR NO KEY UPDATE

-- name: grant_slots
-- Free slots go to waiting jobs by priority, then age; who has one is owed a publication, claimed by the caller for
-- 30 s. Running and granted jobs are counted under the automation's lock, in a statement begun after it was had. An
-- automation whose limit has gone lets all of them go, some at a time; a job that backs off waits on. Whoever holds a
-- job may be about to suspend its automation, whose row is held here: such a job is passed over until the next time.
WITH room AS (
    SELECT a.id,
           a.max_concurrency - (SELECT count(*) FROM jobs
                                WHERE jobs.automation_id = a.id AND jobs.status IN ('pending', 'running')
                                  AND NOT jobs.waits_for_slot) AS free
    FROM automations a
    WHERE a.id = ANY(%(ids)s::integer[]) AND NOT a.suspended AND a.paused_at IS NULL
), chosen AS (
    SELECT next.id
    FROM room
    CROSS JOIN LATERAL (
        SELECT jobs.id FROM jobs
        WHERE jobs.automation_id = room.id AND jobs.waits_for_slot AND jobs.status = 'pending'
          AND (jobs.publish_due_at IS NULL OR jobs.publish_due_at <= now())
        ORDER BY jobs.priority DESC, jobs.id
        LIMIT CASE WHEN room.free IS NULL THEN %(limit)s ELSE least(greatest(room.free, 0), %(limit)s) END
    ) AS next
), locked AS (
    SELECT jobs.id FROM jobs JOIN chosen ON chosen.id = jobs.id
    WHERE jobs.waits_for_slot AND jobs.status = 'pending'
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
), granted AS (
    UPDATE jobs SET waits_for_slot = false, publish_due_at = now() + interval '30 s'
    FROM locked WHERE jobs.id = locked.id
    RETURNING jobs.*
)
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at, j.start_deadline,
       j.priority, j.released, j.error_class, j.progress, j.progress_message
FROM granted j JOIN automations a ON a.id = j.automation_id
ORDER BY j.id

-- name: start
-- Makes the attempt, here and nowhere else, and answers for every asked job what became of it.
-- Same token, same attempt, also of one that was rescued meanwhile; one that is over is not begun again. Without
-- tokens (bots of the old kind, after a redelivery) a running job begins anew until its attempts are used up. A job
-- that has no slot, or whose automation's limit has been lowered since, waits for one again.
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::text[]) AS asked (id, token)
), locked AS (
    SELECT j.*
    FROM jobs j JOIN asked ON asked.id = j.id
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), judged AS (
    SELECT locked.*, asked.token, a.timeout_seconds, a.retry_policy,
           CASE
               WHEN locked.status NOT IN ('pending', 'running') THEN 'ended'
               WHEN locked.attempt_open AND locked.attempt_token = asked.token
                   THEN CASE locked.status WHEN 'running' THEN 'repeated' ELSE 'revived' END
               WHEN locked.attempt_token = asked.token THEN 'over'
               WHEN locked.status = 'running' AND num_nonnulls(locked.attempt_token, asked.token) > 0 THEN 'taken'
               WHEN locked.status = 'running'
                    AND locked.attempt - locked.released
                        >= coalesce((a.retry_policy ->> 'maxAttempts')::integer, 3) THEN 'lost'
               WHEN locked.status = 'running' OR a.max_concurrency IS NULL THEN 'started'
               WHEN locked.waits_for_slot
                    OR (SELECT count(*) FROM jobs WHERE jobs.automation_id = a.id AND jobs.status = 'running')
                       >= a.max_concurrency THEN 'limited'
               ELSE 'started'
           END AS verdict
    FROM locked JOIN asked ON asked.id = locked.id JOIN automations a ON a.id = locked.automation_id
), began AS (
    UPDATE jobs
    SET status = 'running', attempt = jobs.attempt + 1, attempt_token = judged.token, attempt_open = true,
        attempt_end = NULL, polled = false, progress = NULL, progress_message = NULL,
        started_at = now(), last_heartbeat_at = now(), publish_due_at = NULL, waits_for_slot = false,
        attempt_deadline = now() + make_interval(secs => judged.timeout_seconds), timed_out_at = NULL,
        cancellation_requested_at = CASE WHEN judged.timed_out_at IS NULL THEN jobs.cancellation_requested_at END
    FROM judged WHERE jobs.id = judged.id AND judged.verdict = 'started'
    RETURNING jobs.id, jobs.attempt
), revived AS (
    UPDATE jobs
    SET status = 'running', last_heartbeat_at = now(), publish_due_at = NULL, waits_for_slot = false,
        attempt_deadline = jobs.started_at + make_interval(secs => judged.timeout_seconds)
    FROM judged WHERE jobs.id = judged.id AND judged.verdict = 'revived'
), repeated AS (
    UPDATE jobs SET last_heartbeat_at = now()
    FROM judged WHERE jobs.id = judged.id AND judged.verdict = 'repeated'
), limited AS (
    UPDATE jobs
    SET waits_for_slot = true, publish_due_at = CASE WHEN jobs.waits_for_slot THEN jobs.publish_due_at END
    FROM judged WHERE jobs.id = judged.id AND judged.verdict = 'limited'
), lost AS (
    UPDATE jobs SET status = 'failed', completed_at = now(), attempt_open = false,
        result = jsonb_build_object('error_class', 'WORKER_LOST', 'error',
            format('The worker was lost in attempt %%s, the last one that the retryPolicy allows.', jobs.attempt))
    FROM judged WHERE jobs.id = judged.id AND judged.verdict = 'lost'
), unpaused AS (
    SELECT id FROM automations
    WHERE paused_at IS NULL AND id IN (SELECT automation_id FROM judged
        WHERE verdict = 'lost' AND retry_action(retry_policy, 'WORKER_LOST') = 'Suspend')
    ORDER BY id
    FOR NO KEY UPDATE
), paused AS (
    UPDATE automations SET paused_at = now(), paused_reason = 'RetryRule: A job failed with WORKER_LOST.'
    FROM unpaused WHERE automations.id = unpaused.id
)
SELECT asked.id, CASE judged.verdict WHEN 'lost' THEN 'failed' ELSE judged.status END AS status,
       coalesce(judged.verdict, 'unknown') AS verdict, coalesce(began.attempt, judged.attempt) AS attempt,
       judged.created_at, began.attempt = 1 AS first
FROM asked
LEFT JOIN judged ON judged.id = asked.id
LEFT JOIN began ON began.id = asked.id

-- name: append_lines
-- Keeps log lines of current attempts. Line ids are drawn under the job row's lock, so within a job their order
-- is the order of commits, and a reader who has seen one will never find an earlier one appear.
-- A line is a sign of life, noted at most every 5 s. It bears the sender's time of it, bounded by the job's creation
-- and now: a sender whose clock is wrong loses no line for it.
-- How many were kept is told in every row; fewer than have an id means that some were kept before. (Which ones, a
-- join would tell, but the planner takes these lists for short ones and compares each with each.)
WITH sent AS (
    SELECT *
    FROM unnest(%(ids)s::uuid[], %(tokens)s::text[], %(seqs)s::bigint[], %(levels)s::text[], %(messages)s::text[],
                %(actionable)s::boolean[], %(logged_at)s::timestamptz[])
        WITH ORDINALITY AS sent (job_id, token, seq, level, message, actionable, logged_at, position)
), locked AS (
    SELECT id, status, attempt, attempt_token, last_heartbeat_at, created_at
    FROM jobs
    WHERE id = ANY(%(job_ids)s::uuid[])
    ORDER BY id
    FOR NO KEY UPDATE
), judged AS (
    SELECT sent.*, locked.attempt, locked.created_at, locked.id IS NOT NULL AS known,
           locked.id IS NOT NULL AND locked.attempt_token IS NOT DISTINCT FROM sent.token AS current
    FROM sent LEFT JOIN locked ON locked.id = sent.job_id
    ORDER BY sent.position
), numbered AS (
    SELECT CASE WHEN current THEN nextval('job_logs_id_seq') END AS id, * FROM judged
), kept AS (
    INSERT INTO job_logs (id, job_id, attempt, seq, level, message, actionable, logged_at) OVERRIDING SYSTEM VALUE
    SELECT id, job_id, attempt, seq, level, message, actionable,
           least(greatest(coalesce(logged_at, now()), created_at), now())
    FROM numbered
    WHERE current
    ON CONFLICT (job_id, attempt, seq) DO NOTHING
    RETURNING id
), alive AS (
    UPDATE jobs SET last_heartbeat_at = now()
    FROM locked
    WHERE jobs.id = locked.id AND locked.status = 'running'
      AND locked.last_heartbeat_at < now() - interval '5 s'
      AND locked.id IN (SELECT job_id FROM numbered WHERE current)
)
SELECT id, known, attempt, (SELECT count(*) FROM kept) AS kept FROM numbered ORDER BY position

-- name: line_ids
-- The ids of lines that were kept before, for a sender that resends them.
SELECT l.job_id, l.attempt, l.seq, l.id
FROM job_logs l
JOIN unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(seqs)s::bigint[]) AS resent (job_id, attempt, seq)
    USING (job_id, attempt, seq)

-- name: finish
-- Ends current attempts, once: repeating one with the same content changes nothing and is told so.
-- An attempt that was rescued (pending again) may still finish until another one starts. A failure becomes what the
-- automation's retryPolicy says; a canceled that the attempt's time limit asked for is such a failure, JOB_TIMEOUT.
WITH asked AS (
    SELECT id, token, status, result::jsonb AS result
    FROM unnest(%(ids)s::uuid[], %(tokens)s::text[], %(statuses)s::text[], %(results)s::text[])
        AS asked (id, token, status, result)
), locked AS (
    SELECT j.*
    FROM jobs j JOIN asked ON asked.id = j.id
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), told AS (
    SELECT locked.id, locked.automation_id, asked.status AS asked_status, asked.result AS asked_result,
           locked.timed_out_at, locked.cancellation_requested_at, locked.attempt - locked.released AS attempts,
           a.retry_policy, a.max_concurrency,
           asked.status = 'canceled' AND locked.timed_out_at IS NOT NULL AS timed_out,
           CASE
               WHEN asked.status = 'canceled' AND locked.timed_out_at IS NOT NULL THEN 'JOB_TIMEOUT'
               WHEN asked.status = 'failed' THEN coalesce(asked.result ->> 'error_class', 'UNKNOWN')
           END AS failed_class
    FROM locked
    JOIN asked ON asked.id = locked.id
    JOIN automations a ON a.id = locked.automation_id
    WHERE locked.status IN ('pending', 'running') AND locked.attempt_open
      AND locked.attempt_token IS NOT DISTINCT FROM asked.token
), judged AS (
    SELECT told.*,
           CASE
               WHEN failed_class IS NULL THEN 'End'
               WHEN timed_out_at IS NULL AND cancellation_requested_at IS NOT NULL THEN 'Fail'
               ELSE after_failure(retry_policy, failed_class, attempts)
           END AS action
    FROM told
), ended AS (
    UPDATE jobs
    SET status = CASE WHEN judged.timed_out THEN 'failed' ELSE judged.asked_status END,
        result = CASE WHEN judged.timed_out THEN timeout_result(judged.asked_result) ELSE judged.asked_result END,
        attempt_end = CASE WHEN judged.timed_out
            THEN jsonb_build_object('status', judged.asked_status, 'result', judged.asked_result) END,
        attempt_open = false, completed_at = now(), last_heartbeat_at = now(), publish_due_at = NULL
    FROM judged WHERE jobs.id = judged.id AND judged.action <> 'Retry'
), retried AS (
    UPDATE jobs
    SET status = 'pending', attempt_open = false, last_heartbeat_at = now(), attempt_deadline = NULL,
        attempt_end = jsonb_build_object('status', judged.asked_status, 'result', judged.asked_result),
        publish_due_at = now() + retry_delay(judged.retry_policy, judged.attempts),
        waits_for_slot = judged.max_concurrency IS NOT NULL, timed_out_at = NULL, cancellation_requested_at = NULL
    FROM judged WHERE jobs.id = judged.id AND judged.action = 'Retry'
), unpaused AS (
    SELECT id FROM automations
    WHERE paused_at IS NULL AND id IN (SELECT automation_id FROM judged WHERE action = 'Suspend')
    ORDER BY id
    FOR NO KEY UPDATE
), paused AS (
    UPDATE automations SET paused_at = now(), paused_reason = format('RetryRule: A job failed with %%s.', judged.failed_class)
    FROM unpaused, judged
    WHERE automations.id = unpaused.id AND judged.automation_id = unpaused.id AND judged.action = 'Suspend'
)
SELECT asked.id, locked.status, locked.attempt,
       locked.attempt_token IS NOT DISTINCT FROM asked.token AS current,
       judged.id IS NOT NULL AS finished,
       NOT locked.attempt_open
           AND CASE WHEN locked.attempt_end IS NULL
                    THEN locked.status = asked.status AND locked.result IS NOT DISTINCT FROM asked.result
                    ELSE locked.attempt_end = jsonb_build_object('status', asked.status, 'result', asked.result)
               END AS repeated
FROM asked
LEFT JOIN locked ON locked.id = asked.id
LEFT JOIN judged ON judged.id = asked.id

-- name: release
-- Hands started jobs back: pending again and owed, their attempts not counted. One that was to be canceled ends now,
-- since nobody works on it any more. Repeating a release changes nothing.
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::text[]) AS asked (id, token)
), locked AS (
    SELECT j.id, j.status, j.attempt, j.attempt_token, j.attempt_open, j.attempt_end, j.timed_out_at,
           j.cancellation_requested_at
    FROM jobs j JOIN asked ON asked.id = j.id
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), released AS (
    UPDATE jobs
    SET released = jobs.released + 1, attempt_open = false, attempt_deadline = NULL, timed_out_at = NULL,
        attempt_end = '{"status": "released"}',
        status = CASE WHEN to_cancel THEN 'canceled' ELSE 'pending' END,
        completed_at = CASE WHEN to_cancel THEN now() END,
        publish_due_at = CASE WHEN NOT to_cancel AND NOT jobs.waits_for_slot THEN now() + interval '5 s' END,
        cancellation_requested_at = CASE WHEN to_cancel THEN jobs.cancellation_requested_at END
    FROM (
        SELECT locked.id,
               locked.cancellation_requested_at IS NOT NULL AND locked.timed_out_at IS NULL AS to_cancel
        FROM locked JOIN asked ON asked.id = locked.id
        WHERE locked.status IN ('pending', 'running') AND locked.attempt_open
          AND locked.attempt_token IS NOT DISTINCT FROM asked.token
    ) AS handed
    WHERE jobs.id = handed.id
    RETURNING jobs.id, jobs.status
)
SELECT asked.id, locked.status, locked.attempt_token IS NOT DISTINCT FROM asked.token AS current,
       released.status AS released_as,
       NOT locked.attempt_open AND locked.attempt_end = '{"status": "released"}' AS repeated
FROM asked
LEFT JOIN locked ON locked.id = asked.id
LEFT JOIN released ON released.id = asked.id

-- name: beat
-- A sign of life of current attempts, noted at most every 5 s unless it tells of progress, and whether to stop:
-- somebody asked for it, the job has ended without this attempt, or this attempt is over. (Without tokens, one that is
-- over is not told from one that has yet to begin.)
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::text[], %(progress)s::real[], %(messages)s::text[])
        AS asked (id, token, progress, message)
), due AS (
    SELECT j.id, asked.progress, asked.message
    FROM jobs j JOIN asked ON asked.id = j.id
    WHERE j.status = 'running' AND j.attempt_token IS NOT DISTINCT FROM asked.token
      AND (j.last_heartbeat_at < now() - interval '5 s' OR NOT j.polled
           OR asked.progress IS DISTINCT FROM j.progress AND asked.progress IS NOT NULL
           OR asked.message IS DISTINCT FROM j.progress_message AND asked.message IS NOT NULL)
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), alive AS (
    UPDATE jobs SET last_heartbeat_at = now(), polled = true, progress = coalesce(due.progress, jobs.progress),
        progress_message = coalesce(due.message, jobs.progress_message)
    FROM due WHERE jobs.id = due.id
)
SELECT asked.id, j.id IS NOT NULL AS known, j.attempt_token IS NOT DISTINCT FROM asked.token AS current,
       j.cancellation_requested_at IS NOT NULL OR j.status NOT IN ('pending', 'running')
           OR j.attempt_token IS NOT NULL AND NOT j.attempt_open AS cancellation_requested
FROM asked LEFT JOIN jobs j ON j.id = asked.id

-- name: note_up
-- The service is up. After a gap its clock starts anew: a silence in an outage of ours is no worker's fault.
INSERT INTO service_clock AS clock (up_since, last_beat)
VALUES (coalesce(%(now)s::timestamptz, now()), coalesce(%(now)s::timestamptz, now()))
ON CONFLICT (only_one) DO UPDATE SET
    up_since = CASE WHEN excluded.last_beat > clock.last_beat + interval '30 s' THEN excluded.up_since
                    ELSE clock.up_since END,
    last_beat = excluded.last_beat

-- name: cancel
-- Pending jobs are canceled at once, running ones asked to stop; ended ones stay as they are.
WITH locked AS (
    SELECT id, status FROM jobs
    WHERE id = ANY(%(ids)s::uuid[]) AND status IN ('pending', 'running')
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE jobs
SET status = CASE jobs.status WHEN 'pending' THEN 'canceled' ELSE jobs.status END,
    completed_at = CASE jobs.status WHEN 'pending' THEN now() END,
    publish_due_at = NULL,
    waits_for_slot = false,
    attempt_open = jobs.attempt_open AND jobs.status = 'running',
    cancellation_requested_at = coalesce(jobs.cancellation_requested_at, now())
FROM locked
WHERE jobs.id = locked.id
RETURNING jobs.id

-- name: by_ids
-- Jobs as the contract shows them.
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at, j.start_deadline,
       j.priority, j.released, j.error_class, j.progress, j.progress_message
FROM jobs j JOIN automations a ON a.id = j.automation_id
WHERE j.id = ANY(%(ids)s::uuid[])
ORDER BY j.id

-- name: lines
-- A job's log lines after one of them, the oldest first.
SELECT id, job_id, logged_at, level, message, actionable
FROM job_logs
WHERE job_id = %(id)s AND id > %(after)s
ORDER BY id
LIMIT %(limit)s

-- name: log_head
-- Where a job's log stands: its status and its last line, 0 when it has none.
SELECT status, coalesce((SELECT max(id) FROM job_logs WHERE job_id = jobs.id), 0) AS last_line
FROM jobs
WHERE id = %(id)s

-- name: portion
-- A job's log lines after one and up to another, the oldest first, bounded in number and size, and whether more lie
-- between. Of one job, so that the plan reads one partition in the order of its key, however long the log is.
SELECT id, job_id, logged_at, level, message, actionable, more
FROM (
    SELECT *, row_number() OVER in_order AS place, lead(id) OVER in_order IS NOT NULL AS more,
           sum(octet_length(message)) OVER in_order - octet_length(message) AS octets_before
    FROM (
        SELECT * FROM job_logs
        WHERE job_id = %(id)s AND id > %(after)s AND id <= %(upto)s
        ORDER BY id
        LIMIT %(lines)s + 1
    ) AS next
    WINDOW in_order AS (ORDER BY id)
) AS measured
WHERE place <= %(lines)s AND octets_before < %(octets)s
ORDER BY id

-- name: news
-- Of each job its status and the lines after one, in a portion bounded like that; meant for the few lines that are new.
-- One statement sees one state: with the end of a job, and without more, come all lines that there were by then.
SELECT seen.job_id, jobs.status, portion.*
FROM unnest(%(ids)s::uuid[], %(after)s::bigint[]) AS seen (job_id, after)
JOIN jobs ON jobs.id = seen.job_id
LEFT JOIN LATERAL (
    SELECT id, logged_at, level, message, actionable, more
    FROM (
        SELECT *, row_number() OVER in_order AS place, lead(id) OVER in_order IS NOT NULL AS more,
               sum(octet_length(message)) OVER in_order - octet_length(message) AS octets_before
        FROM (
            SELECT * FROM job_logs
            WHERE job_id = seen.job_id AND id > seen.after
            ORDER BY id
            LIMIT %(lines)s + 1
        ) AS next
        WINDOW in_order AS (ORDER BY id)
    ) AS measured
    WHERE place <= %(lines)s AND octets_before < %(octets)s
) AS portion ON true
ORDER BY seen.job_id, portion.id

-- name: tell_changes
-- Tells every follower which jobs changed. Nobody waits for the disk here: a commit that tells something holds up
-- all others that do.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('job_changes', payload)
FROM unnest(%(payloads)s::text[]) AS payload

-- name: hear_changes
-- Makes this connection hear of them.
LISTEN job_changes
