-- Lists of jobs, put together by maestro.job.listing: only the filters that are given stand in a statement. One with
-- `$1 IS NULL OR …` for each would be planned for all cases at once, which means reading everything.

-- name: page
-- The newest jobs that match. Status by status the newest keys come out of an index in order, so that only a page of
-- each is read however many match; then the rows of the newest among them all. One row more than asked for tells
-- whether there is another page.
SELECT j.id, j.automation_id, a.queue, a.script_path, j.status, j.parameters::text AS parameters,
       j.result::text AS result, j.user_id, j.schedule_id, j.scheduled_for, j.attempt, j.created_at, j.started_at,
       j.completed_at, j.cancellation_requested_at, j.last_heartbeat_at, j.publish_due_at, j.start_deadline,
       j.priority, j.released, j.error_class, j.progress, j.progress_message
FROM (
    SELECT newest.id
    FROM unnest(%(statuses)s::text[]) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT jobs.id, jobs.created_at FROM jobs
        WHERE jobs.status = wanted.status {conditions}
        ORDER BY jobs.created_at DESC, jobs.id DESC
        LIMIT {reach}
    ) AS newest
    ORDER BY newest.created_at DESC, newest.id DESC
    LIMIT {count} OFFSET {offset}
) AS page
JOIN jobs j ON j.id = page.id
JOIN automations a ON a.id = j.automation_id
ORDER BY j.created_at DESC, j.id DESC

-- name: total
-- How many jobs match, exactly.
SELECT count(*) FROM jobs WHERE true {conditions}

-- name: statuses
-- Of these states.
AND jobs.status = ANY(%(statuses)s::text[])

-- name: automation_id
-- Of one automation.
AND jobs.automation_id = %(automation_id)s

-- name: user_id
-- Of one user.
AND jobs.user_id = %(user_id)s

-- name: since
-- Made then or later.
AND jobs.created_at >= %(since)s

-- name: until
-- Made before.
AND jobs.created_at < %(until)s

-- name: after
-- Behind the last one of a page, in the order of lists.
AND (jobs.created_at, jobs.id) < (%(after_created_at)s, %(after_id)s)
