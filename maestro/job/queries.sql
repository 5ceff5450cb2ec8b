-- Statements on jobs and their log lines. Each takes arrays, so that many calls can share one statement and one
-- commit. Those that change several rows lock them first, in order of id: unordered ones deadlock.

-- name: accept
-- New jobs, owed from the start: whoever accepted them has 5 s to publish before the dispatcher does it.
-- A tick of a schedule that already has its job is left out.
WITH accepted AS (
    INSERT INTO jobs (id, automation_id, parameters, user_id, schedule_id, scheduled_for, publish_due_at)
    SELECT id, automation_id, parameters::jsonb, user_id, schedule_id, scheduled_for, now() + interval '5 s'
    FROM unnest(%(ids)s::uuid[], %(automation_ids)s::integer[], %(parameters)s::text[], %(user_ids)s::text[],
                %(schedule_ids)s::integer[], %(scheduled_for)s::timestamptz[])
        AS new (id, automation_id, parameters, user_id, schedule_id, scheduled_for)
    ON CONFLICT (schedule_id, scheduled_for) WHERE schedule_id IS NOT NULL DO NOTHING
    RETURNING *
)
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at
FROM accepted j JOIN automations a ON a.id = j.automation_id
ORDER BY j.id

-- name: claim_owed
-- Debts that are due, the oldest first, moved 30 s ahead so that no other dispatcher pays them meanwhile.
WITH due AS (
    SELECT j.id
    FROM jobs j JOIN automations a ON a.id = j.automation_id
    WHERE j.publish_due_at <= now() AND j.status = 'pending' AND NOT a.suspended
    ORDER BY j.publish_due_at
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF j SKIP LOCKED
), claimed AS (
    UPDATE jobs SET publish_due_at = now() + interval '30 s' FROM due WHERE jobs.id = due.id RETURNING jobs.*
)
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at
FROM claimed j JOIN automations a ON a.id = j.automation_id
ORDER BY j.id

-- name: settle
-- The broker has these messages: clears each debt whose value is still the published one.
WITH published AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(due_at)s::timestamptz[]) AS published (id, due_at)
), locked AS (
    SELECT j.id
    FROM jobs j JOIN published ON published.id = j.id
    WHERE j.publish_due_at = published.due_at AND j.status = 'pending'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
)
UPDATE jobs SET publish_due_at = NULL FROM locked WHERE jobs.id = locked.id

-- name: start
-- Makes the attempt, here and nowhere else, and answers for every asked job what it was and what it became.
-- Same token, same attempt. Without tokens (bots of the old kind, after a redelivery) a running job begins anew.
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::text[]) AS asked (id, token)
), locked AS (
    SELECT j.id, j.status, j.attempt, j.attempt_token
    FROM jobs j JOIN asked ON asked.id = j.id
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), started AS (
    UPDATE jobs
    SET status = 'running', attempt = jobs.attempt + 1, attempt_token = asked.token, started_at = now(),
        last_heartbeat_at = now(), publish_due_at = NULL
    FROM locked JOIN asked ON asked.id = locked.id
    WHERE jobs.id = locked.id
      AND (locked.status = 'pending'
           OR locked.status = 'running' AND locked.attempt_token IS NULL AND asked.token IS NULL)
    RETURNING jobs.id, jobs.attempt
)
SELECT asked.id, locked.status, coalesce(started.attempt, locked.attempt) AS attempt,
       started.id IS NOT NULL AS started,
       locked.status = 'running' AND locked.attempt_token = asked.token AS repeated
FROM asked
LEFT JOIN locked ON locked.id = asked.id
LEFT JOIN started ON started.id = asked.id

-- name: append_lines
-- Keeps log lines of current attempts. Line ids are drawn under the job row's lock, so within a job their order
-- is the order of commits, and a reader who has seen one will never find an earlier one appear.
-- A line is a sign of life, noted at most every 5 s. It bears the sender's time of it, bounded by the job's creation
-- and now: a sender whose clock is wrong loses no line for it.
WITH sent AS (
    SELECT *
    FROM unnest(%(ids)s::uuid[], %(tokens)s::text[], %(seqs)s::bigint[], %(levels)s::text[], %(messages)s::text[],
                %(actionable)s::boolean[], %(logged_at)s::timestamptz[])
        WITH ORDINALITY AS sent (job_id, token, seq, level, message, actionable, logged_at, position)
), locked AS (
    SELECT id, status, attempt, attempt_token, last_heartbeat_at, created_at
    FROM jobs
    WHERE id IN (SELECT job_id FROM sent)
    ORDER BY id
    FOR NO KEY UPDATE
), current AS (
    SELECT sent.*, locked.attempt, locked.created_at
    FROM sent JOIN locked ON locked.id = sent.job_id
    WHERE locked.attempt_token IS NOT DISTINCT FROM sent.token
    ORDER BY sent.position
), numbered AS (
    SELECT nextval('job_logs_id_seq') AS id, * FROM current
), kept AS (
    INSERT INTO job_logs (id, job_id, attempt, seq, level, message, actionable, logged_at) OVERRIDING SYSTEM VALUE
    SELECT id, job_id, attempt, seq, level, message, actionable,
           least(greatest(coalesce(logged_at, now()), created_at), now())
    FROM numbered
    ON CONFLICT (job_id, attempt, seq) DO NOTHING
    RETURNING id
), alive AS (
    UPDATE jobs SET last_heartbeat_at = now()
    FROM locked
    WHERE jobs.id = locked.id AND locked.status = 'running'
      AND locked.last_heartbeat_at < now() - interval '5 s'
      AND jobs.id IN (SELECT job_id FROM current)
)
SELECT sent.position, sent.job_id, locked.id IS NOT NULL AS known, numbered.id IS NOT NULL AS current,
       kept.id, numbered.attempt
FROM sent
LEFT JOIN locked ON locked.id = sent.job_id
LEFT JOIN numbered ON numbered.position = sent.position
LEFT JOIN kept ON kept.id = numbered.id
ORDER BY sent.position

-- name: line_ids
-- The ids of lines that were kept before, for a sender that resends them.
SELECT l.job_id, l.attempt, l.seq, l.id
FROM job_logs l
JOIN unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(seqs)s::bigint[]) AS resent (job_id, attempt, seq)
    USING (job_id, attempt, seq)

-- name: finish
-- Ends current attempts, once: repeating one with the same content changes nothing and is told so.
-- An attempt that was taken back (pending again) may still finish until another one starts.
WITH asked AS (
    SELECT id, token, status, result::jsonb AS result
    FROM unnest(%(ids)s::uuid[], %(tokens)s::text[], %(statuses)s::text[], %(results)s::text[])
        AS asked (id, token, status, result)
), locked AS (
    SELECT j.id, j.status, j.attempt, j.attempt_token, j.result
    FROM jobs j JOIN asked ON asked.id = j.id
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), finished AS (
    UPDATE jobs
    SET status = asked.status, result = asked.result, completed_at = now(), last_heartbeat_at = now(),
        publish_due_at = NULL
    FROM locked JOIN asked ON asked.id = locked.id
    WHERE jobs.id = locked.id
      AND (locked.status = 'running' OR locked.status = 'pending' AND locked.attempt > 0)
      AND locked.attempt_token IS NOT DISTINCT FROM asked.token
    RETURNING jobs.id
)
SELECT asked.id, locked.status, locked.attempt,
       locked.attempt_token IS NOT DISTINCT FROM asked.token AS current,
       finished.id IS NOT NULL AS finished,
       locked.status = asked.status AND locked.result IS NOT DISTINCT FROM asked.result AS repeated
FROM asked
LEFT JOIN locked ON locked.id = asked.id
LEFT JOIN finished ON finished.id = asked.id

-- name: beat
-- A sign of life of current attempts, noted at most every 5 s, and whether somebody asked to cancel.
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::text[]) AS asked (id, token)
), due AS (
    SELECT j.id
    FROM jobs j JOIN asked ON asked.id = j.id
    WHERE j.status = 'running' AND j.attempt_token IS NOT DISTINCT FROM asked.token
      AND j.last_heartbeat_at < now() - interval '5 s'
    ORDER BY j.id
    FOR NO KEY UPDATE OF j
), alive AS (
    UPDATE jobs SET last_heartbeat_at = now() FROM due WHERE jobs.id = due.id
)
SELECT asked.id, j.id IS NOT NULL AS known, j.attempt_token IS NOT DISTINCT FROM asked.token AS current,
       j.cancellation_requested_at IS NOT NULL AS cancellation_requested
FROM asked LEFT JOIN jobs j ON j.id = asked.id

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
    cancellation_requested_at = coalesce(jobs.cancellation_requested_at, now())
FROM locked
WHERE jobs.id = locked.id
RETURNING jobs.id

-- name: by_ids
-- Jobs as the contract shows them.
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at
FROM jobs j JOIN automations a ON a.id = j.automation_id
WHERE j.id = ANY(%(ids)s::uuid[])
ORDER BY j.id

-- name: page
-- A page of the newest jobs that match.
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at
FROM (
    SELECT * FROM jobs
    WHERE (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(automation_id)s::integer IS NULL OR automation_id = %(automation_id)s)
      AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
      AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
) j JOIN automations a ON a.id = j.automation_id
ORDER BY j.created_at DESC, j.id DESC

-- name: total
-- How many jobs match, exactly.
SELECT count(*) AS total FROM jobs
WHERE (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(automation_id)s::integer IS NULL OR automation_id = %(automation_id)s)
  AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
  AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)

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
