-- name: facts
-- What tells why a job waits: its own row, its automation's worker, what was seen of its queue, and who is ahead. The
-- line is counted up to a bound, for it may be long; jobs of all automations that share the queue stand in it.
SELECT j.status, j.attempt, j.attempt_open, j.attempt_end ->> 'status' AS attempt_end,
       j.attempt_end -> 'result' ->> 'error_class' AS attempt_error_class, j.waits_for_slot, j.publish_due_at,
       j.started_at, j.completed_at, j.cancellation_requested_at, j.error_class, j.automation_id,
       a.queue, a.managed, a.worker_state, a.max_concurrency, q.consumers, q.seen_at, now() AS now,
       CASE WHEN j.waits_for_slot THEN (
           SELECT count(*) FROM jobs
           WHERE jobs.automation_id = j.automation_id AND jobs.status IN ('pending', 'running')
             AND NOT jobs.waits_for_slot
       ) END AS slots_held,
       CASE
           WHEN j.status <> 'pending' THEN 0
           WHEN j.waits_for_slot THEN (
               SELECT count(*) FROM jobs
               WHERE jobs.automation_id = j.automation_id AND jobs.status = 'pending' AND jobs.waits_for_slot
                 AND (-jobs.priority, jobs.id) < (-j.priority, j.id)
           )
           ELSE (
               SELECT count(*) FROM (
                   SELECT FROM automations
                   CROSS JOIN LATERAL (
                       SELECT FROM jobs
                       WHERE jobs.automation_id = automations.id AND jobs.status = 'pending'
                         AND (jobs.created_at, jobs.id) < (j.created_at, j.id) AND NOT jobs.waits_for_slot
                       LIMIT %(most)s
                   ) AS earlier
                   WHERE automations.queue = a.queue
                   LIMIT %(most)s
               ) AS line
           )
       END AS ahead
FROM jobs j
JOIN automations a ON a.id = j.automation_id
LEFT JOIN queue_states q ON q.queue = a.queue
WHERE j.id = %(id)s
