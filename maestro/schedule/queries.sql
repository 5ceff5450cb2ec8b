-- name: now
-- The one clock that every process goes by.
SELECT now() AS now

-- name: by_name
-- A schedule by its resource's name, retired or not.
SELECT s.*, a.id AS automation_id, j.status AS last_job_status, o.nominal_at AS last_occurrence_at,
       o.outcome AS last_outcome, o.reason AS last_reason, o.message AS last_message
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
LEFT JOIN jobs j ON j.id = s.last_job_id
LEFT JOIN occurrences o ON o.id = s.last_occurrence_id
WHERE s.namespace = %(namespace)s AND s.name = %(name)s

-- name: by_id
-- A schedule by its integer id, retired or not.
SELECT s.*, a.id AS automation_id, j.status AS last_job_status, o.nominal_at AS last_occurrence_at,
       o.outcome AS last_outcome, o.reason AS last_reason, o.message AS last_message
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
LEFT JOIN jobs j ON j.id = s.last_job_id
LEFT JOIN occurrences o ON o.id = s.last_occurrence_id
WHERE s.id = %(id)s

-- name: list_all
-- Every schedule whose resource exists; the suspended ones only when asked for.
SELECT s.*, a.id AS automation_id, j.status AS last_job_status, o.nominal_at AS last_occurrence_at,
       o.outcome AS last_outcome, o.reason AS last_reason, o.message AS last_message
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
LEFT JOIN jobs j ON j.id = s.last_job_id
LEFT JOIN occurrences o ON o.id = s.last_occurrence_id
WHERE s.retired_at IS NULL AND (%(include_disabled)s OR NOT s.suspended)
ORDER BY s.id

-- name: automation_exists
-- Whether there is an automation of that name to run.
SELECT EXISTS (SELECT FROM automations WHERE namespace = %(namespace)s AND name = %(name)s
               AND uid IS NOT NULL AND retired_at IS NULL) AS there

-- name: pass_id
-- Let new ids begin after this one. Counted up to it, not set: a set could go back behind what others count meanwhile.
SELECT max(nextval('schedules_id_seq'))
FROM generate_series((SELECT last_value FROM schedules_id_seq), %(id)s)

-- name: hold
-- How far a schedule in service is decided, unless it has seen this generation; held until the edit is through.
SELECT decided_until FROM schedules
WHERE id = %(id)s AND generation < %(generation)s AND retired_at IS NULL AND due_at IS NOT NULL
FOR NO KEY UPDATE

-- name: told_last
-- The last of these occurrences that were written beside a batch is the one that status tells of its schedule.
UPDATE schedules s SET last_occurrence_id = o.id
FROM (SELECT DISTINCT ON (schedule_id) schedule_id, id FROM occurrences WHERE id = ANY(%(ids)s::bigint[])
      ORDER BY schedule_id, nominal_at DESC) AS o
WHERE s.id = o.schedule_id

-- name: upsert
-- Take over what a resource says, unless the row has seen this generation. A change of when it runs, and a new
-- resource under an old name, count from now; any other change leaves what is decided and due where it is.
INSERT INTO schedules AS s (id, namespace, name, uid, generation, automation_name, cron, time_zone, parameters, suspended,
                            concurrency_policy, starting_deadline_seconds, catch_up_policy, catch_up_window_seconds,
                            jitter_seconds, calendar_name, on_holiday, start_time, end_time, decided_until, due_at,
                            next_run_at)
VALUES (coalesce(%(imported)s, nextval('schedules_id_seq')),
        %(namespace)s, %(name)s, %(uid)s, %(generation)s, %(automation_name)s, %(cron)s, %(time_zone)s,
        %(parameters)s, %(suspended)s, %(concurrency_policy)s, %(starting_deadline_seconds)s, %(catch_up_policy)s,
        %(catch_up_window_seconds)s, %(jitter_seconds)s, %(calendar_name)s, %(on_holiday)s, %(start_time)s,
        %(end_time)s, %(decided_until)s, %(due_at)s, %(next_run_at)s)
ON CONFLICT ON CONSTRAINT schedules_name_key DO UPDATE SET
    uid = excluded.uid,
    generation = excluded.generation,
    automation_name = excluded.automation_name,
    cron = excluded.cron,
    time_zone = excluded.time_zone,
    parameters = excluded.parameters,
    suspended = excluded.suspended,
    concurrency_policy = excluded.concurrency_policy,
    starting_deadline_seconds = excluded.starting_deadline_seconds,
    catch_up_policy = excluded.catch_up_policy,
    catch_up_window_seconds = excluded.catch_up_window_seconds,
    jitter_seconds = excluded.jitter_seconds,
    calendar_name = excluded.calendar_name,
    on_holiday = excluded.on_holiday,
    start_time = excluded.start_time,
    end_time = excluded.end_time,
    (decided_until, due_at, next_run_at) = (
        SELECT CASE WHEN same THEN s.decided_until ELSE excluded.decided_until END,
               CASE WHEN same THEN s.due_at ELSE excluded.due_at END,
               CASE WHEN same THEN s.next_run_at ELSE excluded.next_run_at END
        FROM (SELECT s.uid = excluded.uid AND s.retired_at IS NULL AND s.decided_until IS NOT NULL
                  AND (s.cron, s.time_zone, s.suspended, s.jitter_seconds, s.calendar_name, s.on_holiday,
                       s.start_time, s.end_time)
                  IS NOT DISTINCT FROM
                      (excluded.cron, excluded.time_zone, excluded.suspended, excluded.jitter_seconds,
                       excluded.calendar_name, excluded.on_holiday, excluded.start_time, excluded.end_time) AS same
             ) AS timing
    ),
    put_off_until = NULL,
    retired_at = NULL,
    updated_at = now()
WHERE s.uid IS DISTINCT FROM excluded.uid OR s.generation < excluded.generation OR s.retired_at IS NOT NULL
    OR s.decided_until IS NULL
RETURNING s.id

-- name: retire
-- The resource is gone: nothing fires any more, the row keeps its id for a namesake. With a uid only that very
-- object, so that a namesake made since stays in service.
UPDATE schedules SET retired_at = now(), due_at = NULL, next_run_at = NULL, updated_at = now()
WHERE namespace = %(namespace)s AND name = %(name)s AND uid = coalesce(%(uid)s, uid) AND retired_at IS NULL
RETURNING id

-- name: give_up_waiting
-- Nothing starts any more what waited for an earlier run of this schedule to end.
UPDATE occurrences
SET outcome = 'skipped', reason = %(reason)s, message = %(message)s, decided_at = coalesce(%(now)s, now())
WHERE schedule_id = %(id)s AND outcome = 'waiting'

-- name: users_of_calendars
-- The schedules in service that go by any of these calendars, held so that their times can be written anew.
SELECT s.id, s.namespace, s.name, s.cron, s.time_zone, s.calendar_name, s.on_holiday, s.start_time, s.end_time,
       s.jitter_seconds, s.decided_until, s.due_at
FROM schedules s
WHERE s.namespace = %(namespace)s AND s.calendar_name = ANY(%(names)s::text[])
  AND s.retired_at IS NULL AND NOT s.suspended AND s.decided_until IS NOT NULL
ORDER BY s.id
FOR NO KEY UPDATE

-- name: retime
-- What is decided of these, when they are due and when they run next. The cursor moves also where the times stay the
-- same: what lies before it has its row, and would be decided again after an outage.
UPDATE schedules s SET decided_until = u.decided_until, due_at = u.due_at, next_run_at = u.next_run_at
FROM unnest(%(ids)s::integer[], %(decided_until)s::timestamptz[], %(due_at)s::timestamptz[],
            %(next_run_at)s::timestamptz[])
    AS u (id, decided_until, due_at, next_run_at)
WHERE s.id = u.id

-- name: due
-- The schedules of which an instant is to be decided, held against other dispatchers, with what that needs.
SELECT s.id, s.namespace, s.name, s.cron, s.time_zone, s.parameters, s.concurrency_policy,
       s.starting_deadline_seconds, s.catch_up_policy, s.catch_up_window_seconds, s.jitter_seconds,
       s.calendar_name, s.on_holiday, s.start_time, s.end_time, s.decided_until, s.due_at, s.automation_name,
       a.id AS automation_id, a.suspended OR a.paused_at IS NOT NULL AS automation_suspended,
       a.parameter_schema, a.default_params
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
WHERE s.due_at <= %(now)s
ORDER BY s.due_at
LIMIT %(limit)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: ready
-- The schedules of which an occurrence waits whose jobs have all ended, or whose time to start is over. The first lines
-- are asked of the row as it is once held: it may have been suspended, retired or put off while this statement ran.
SELECT s.id, s.namespace, s.name, s.cron, s.time_zone, s.parameters, s.concurrency_policy,
       s.starting_deadline_seconds, s.catch_up_policy, s.catch_up_window_seconds, s.jitter_seconds,
       s.calendar_name, s.on_holiday, s.start_time, s.end_time, s.decided_until, s.due_at, s.automation_name,
       a.id AS automation_id, a.suspended OR a.paused_at IS NOT NULL AS automation_suspended,
       a.parameter_schema, a.default_params
FROM schedules s
LEFT JOIN automations a ON a.namespace = s.namespace AND a.name = s.automation_name
    AND a.uid IS NOT NULL AND a.retired_at IS NULL
WHERE NOT s.suspended AND s.retired_at IS NULL
  AND (s.put_off_until IS NULL OR s.put_off_until <= %(now)s)
  AND s.id IN (
    SELECT o.schedule_id
    FROM occurrences o JOIN schedules w ON w.id = o.schedule_id
    WHERE o.outcome = 'waiting' AND NOT w.suspended AND w.retired_at IS NULL
      AND (w.put_off_until IS NULL OR w.put_off_until <= %(now)s)
      AND (NOT EXISTS (SELECT FROM jobs WHERE jobs.schedule_id = o.schedule_id
                       AND jobs.status IN ('pending', 'running'))
           OR o.due_at + make_interval(secs => w.starting_deadline_seconds) < %(now)s)
    LIMIT %(limit)s
)
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: open_jobs
-- The pending and running jobs of these schedules.
SELECT schedule_id, id FROM jobs
WHERE schedule_id = ANY(%(ids)s::integer[]) AND status IN ('pending', 'running')
ORDER BY id

-- name: waiting
-- The occurrences of these schedules that wait for a job to end.
SELECT id, schedule_id, nominal_at, effective_at, due_at, decided_at FROM occurrences
WHERE schedule_id = ANY(%(ids)s::integer[]) AND outcome = 'waiting'
ORDER BY nominal_at

-- name: known_among
-- Which of these instants have their occurrence.
SELECT o.schedule_id, o.nominal_at
FROM unnest(%(schedule_ids)s::integer[], %(nominal_at)s::timestamptz[]) AS asked (schedule_id, nominal_at)
JOIN occurrences o USING (schedule_id, nominal_at)

-- name: known_ahead
-- Instants of these schedules that are yet to come and have their occurrence already: those that Previous moved.
SELECT schedule_id, nominal_at FROM occurrences
WHERE schedule_id = ANY(%(ids)s::integer[]) AND nominal_at > %(now)s

-- name: decided
-- New occurrences, each once: whoever decided an instant before has the last word. One that Previous moved and that is
-- thought to have come too late may also stand in a row for several that an outage took; of many, one merged into any
-- of them has no row of its own, and is known by the time that it was moved to.
INSERT INTO occurrences (schedule_id, nominal_at, effective_at, due_at, outcome, reason, message, count,
                         last_nominal_at, job_id, decided_at)
SELECT new.* FROM unnest(
    %(schedule_id)s::integer[], %(nominal_at)s::timestamptz[], %(effective_at)s::timestamptz[],
    %(due_at)s::timestamptz[], %(outcome)s::text[], %(reason)s::text[], %(message)s::text[], %(count)s::integer[],
    %(last_nominal_at)s::timestamptz[], %(job_id)s::uuid[], %(decided_at)s::timestamptz[]
) AS new (schedule_id, nominal_at, effective_at, due_at, outcome, reason, message, count, last_nominal_at, job_id,
          decided_at)
WHERE new.reason IS DISTINCT FROM 'HolidayKnownTooLate' OR NOT EXISTS (
    SELECT FROM occurrences o
    WHERE o.schedule_id = new.schedule_id
      AND (new.nominal_at BETWEEN o.nominal_at AND o.last_nominal_at
           OR new.effective_at BETWEEN o.effective_at AND least(o.last_nominal_at, o.decided_at)))
ON CONFLICT DO NOTHING
RETURNING id, schedule_id, nominal_at

-- name: waited
-- What became of occurrences that waited. Those merged into one of them get its job.
WITH told AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(outcomes)s::text[], %(reasons)s::text[], %(messages)s::text[],
                         %(job_ids)s::uuid[], %(decided_at)s::timestamptz[])
        AS told (id, outcome, reason, message, job_id, decided_at)
), waited AS (
    UPDATE occurrences o
    SET outcome = told.outcome, reason = told.reason, message = told.message, job_id = told.job_id,
        decided_at = told.decided_at
    FROM told WHERE o.id = told.id AND o.outcome = 'waiting'
    RETURNING o.id, o.schedule_id, o.nominal_at, o.effective_at, o.job_id
), merged AS (
    UPDATE occurrences o SET job_id = waited.job_id
    FROM waited
    WHERE o.schedule_id = waited.schedule_id AND o.effective_at = waited.effective_at AND o.outcome = 'merged'
)
SELECT id, schedule_id, nominal_at FROM waited

-- name: known_jobs
-- Occurrences whose instant had its job before they were written down are that job's.
UPDATE occurrences o SET job_id = j.id
FROM unnest(%(ids)s::uuid[]) AS unmade (id), jobs j
WHERE o.job_id = unmade.id AND j.schedule_id = o.schedule_id AND j.scheduled_for = o.nominal_at
  AND o.schedule_id = ANY(%(schedule_ids)s::integer[])

-- name: moved_on
-- How far these schedules are decided and when they are looked at again, with their last run where a job came of them.
UPDATE schedules s SET
    decided_until = u.decided_until,
    due_at = u.due_at,
    next_run_at = u.next_run_at,
    last_run_at = coalesce(u.last_run_at, s.last_run_at),
    last_job_id = coalesce(u.last_job_id, s.last_job_id),
    last_occurrence_id = coalesce(u.last_occurrence_id, s.last_occurrence_id)
FROM unnest(%(ids)s::integer[], %(decided_until)s::timestamptz[], %(due_at)s::timestamptz[],
            %(next_run_at)s::timestamptz[], %(last_run_at)s::timestamptz[], %(last_job_id)s::uuid[],
            %(last_occurrence_id)s::bigint[])
    AS u (id, decided_until, due_at, next_run_at, last_run_at, last_job_id, last_occurrence_id)
WHERE s.id = u.id

-- name: put_off
-- These could not be decided and are tried again later; nothing of theirs is decided or started meanwhile.
UPDATE schedules SET due_at = greatest(due_at, %(until)s), put_off_until = %(until)s
WHERE id = ANY(%(ids)s::integer[])

-- name: take_up_versions
-- With other versions of holidays and time zones than before, the schedules in service are looked at now: nothing is
-- decided before its time, but their times are written anew. Held in the order in which an edit of a calendar does.
WITH changed AS (
    UPDATE computed_with SET holidays = %(holidays)s, tzdata = %(tzdata)s
    WHERE (holidays, tzdata) IS DISTINCT FROM (%(holidays)s, %(tzdata)s)
    RETURNING one
), begun AS (
    INSERT INTO computed_with (holidays, tzdata) VALUES (%(holidays)s, %(tzdata)s) ON CONFLICT DO NOTHING
), held AS (
    SELECT id FROM schedules
    WHERE EXISTS (SELECT FROM changed)
      AND retired_at IS NULL AND NOT suspended AND decided_until IS NOT NULL
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE schedules s SET due_at = least(s.due_at, now()) FROM held WHERE s.id = held.id

-- name: next_due
-- Seconds until the next schedule is due; null when none ever is.
SELECT extract(epoch FROM min(due_at) - now())::float8 AS seconds FROM schedules
WHERE due_at IS NOT NULL

-- name: occurrences_of
-- A schedule's occurrences, the newest nominal instant first.
SELECT * FROM occurrences
WHERE schedule_id = %(schedule_id)s
  AND (%(before)s::timestamptz IS NULL OR nominal_at < %(before)s::timestamptz)
ORDER BY nominal_at DESC
LIMIT %(limit)s

-- name: unreported
-- Occurrences that did not fire and of which no event tells yet.
SELECT o.*, s.namespace, s.name, s.uid
FROM occurrences o JOIN schedules s ON s.id = o.schedule_id
WHERE o.reported_at IS NULL AND o.outcome IN ('skipped', 'merged', 'missed')
ORDER BY o.id
LIMIT %(limit)s

-- name: reported
-- Their events are written. One that is being changed is left to be told once more, rather than waited for.
WITH told AS (
    SELECT id FROM occurrences WHERE id = ANY(%(ids)s::bigint[]) FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE occurrences SET reported_at = now() FROM told WHERE occurrences.id = told.id
