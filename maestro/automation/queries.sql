-- name: by_name
-- The row of a resource, retired or only reserved included.
SELECT * FROM automations WHERE namespace = %(namespace)s AND name = %(name)s;

-- name: by_id
-- One that can be used: neither retired nor only reserved.
SELECT * FROM automations WHERE id = %(id)s AND retired_at IS NULL AND uid IS NOT NULL;

-- name: by_ids
-- Those of these that can be used.
SELECT * FROM automations WHERE id = ANY(%(ids)s::integer[]) AND retired_at IS NULL AND uid IS NOT NULL ORDER BY id;

-- name: list_all
-- All that can be used.
SELECT * FROM automations WHERE retired_at IS NULL AND uid IS NOT NULL ORDER BY id;

-- name: uncleared
-- Retired ones whose queue and broker user nobody has dealt with yet.
SELECT * FROM automations WHERE retired_at IS NOT NULL AND cleared_at IS NULL AND uid IS NOT NULL ORDER BY id;

-- name: register
-- Take up a resource and claim its queue, in one round trip. Nothing changes or comes back when another namespace
-- has the queue, or for an older generation of the same object. The queue is chosen once per object: an edit never
-- moves it, a namesake made anew chooses again, and its predecessor's pause is over. With `only_new`, nothing changes
-- where there is a row that tells of more than names reserved or a predecessor dealt with: it comes back as it is.
-- (The claim's no-op update makes the holder's row come back.)
WITH there AS (
    SELECT * FROM automations AS known
    WHERE %(only_new)s AND namespace = %(namespace)s AND name = %(name)s AND uid IS NOT NULL
      AND (uid = %(uid)s OR cleared_at IS NULL
           OR EXISTS (SELECT FROM jobs WHERE jobs.automation_id = known.id AND jobs.status = 'pending'))
), claim AS (
    INSERT INTO queue_claims (queue, namespace)
    SELECT %(queue)s, %(namespace)s WHERE NOT %(shared)s AND NOT EXISTS (SELECT FROM there)
    ON CONFLICT (queue) DO UPDATE SET queue = excluded.queue
    RETURNING namespace
), taken_up AS (
    INSERT INTO automations AS known
        (namespace, name, uid, generation, display_name, description, script_path, queue, queue_arguments,
         deletion_policy, parameter_schema, default_params, suspended, priority, max_concurrency,
         start_deadline_seconds, timeout_seconds, heartbeat_timeout_seconds, retry_policy, managed)
    SELECT
        %(namespace)s, %(name)s, %(uid)s, %(generation)s, %(display_name)s, %(description)s, %(script_path)s,
        %(queue)s, %(queue_arguments)s::jsonb, %(deletion_policy)s, %(parameter_schema)s::jsonb,
        %(default_params)s::jsonb, %(suspended)s, %(priority)s, %(max_concurrency)s, %(start_deadline_seconds)s,
        %(timeout_seconds)s, %(heartbeat_timeout_seconds)s, %(retry_policy)s::jsonb, %(managed)s
    WHERE NOT EXISTS (SELECT FROM there)
      AND (%(shared)s OR EXISTS (SELECT FROM claim WHERE claim.namespace = %(namespace)s))
    ON CONFLICT ON CONSTRAINT automations_name_key DO UPDATE SET
        uid = excluded.uid,
        generation = excluded.generation,
        display_name = excluded.display_name,
        description = excluded.description,
        script_path = excluded.script_path,
        queue = CASE WHEN known.uid = excluded.uid THEN known.queue ELSE excluded.queue END,
        queue_arguments = excluded.queue_arguments,
        deletion_policy = excluded.deletion_policy,
        parameter_schema = excluded.parameter_schema,
        default_params = excluded.default_params,
        suspended = excluded.suspended,
        priority = excluded.priority,
        max_concurrency = excluded.max_concurrency,
        start_deadline_seconds = excluded.start_deadline_seconds,
        timeout_seconds = excluded.timeout_seconds,
        heartbeat_timeout_seconds = excluded.heartbeat_timeout_seconds,
        retry_policy = excluded.retry_policy,
        managed = excluded.managed,
        paused_at = CASE WHEN known.uid = excluded.uid THEN known.paused_at END,
        paused_reason = CASE WHEN known.uid = excluded.uid THEN known.paused_reason END,
        worker_state = CASE WHEN known.uid = excluded.uid AND excluded.managed THEN known.worker_state END,
        updated_at = now(),
        retired_at = NULL,
        cleared_at = NULL
    WHERE CASE WHEN %(only_new)s THEN known.uid IS NULL OR (known.uid <> excluded.uid AND known.cleared_at IS NOT NULL)
               ELSE known.uid IS DISTINCT FROM excluded.uid OR known.generation <= excluded.generation END
    RETURNING *
)
SELECT * FROM taken_up UNION ALL SELECT * FROM there;

-- name: queue_holder
-- The namespace a queue's name belongs to.
SELECT namespace FROM queue_claims WHERE queue = %(queue)s;

-- name: holder
-- Who has this display name.
SELECT name FROM automations
WHERE namespace = %(namespace)s AND display_name = %(display_name)s AND retired_at IS NULL;

-- name: reserve
-- Take the names for a resource that is about to be created.
INSERT INTO automations AS known (namespace, name, display_name, queue)
VALUES (%(namespace)s, %(name)s, %(display_name)s, '')
RETURNING id;

-- name: pass_id
-- Let new ids begin after this one. Counted up to it, not set: a set could go back behind what others count meanwhile.
SELECT max(nextval('automations_id_seq'))
FROM generate_series((SELECT last_value FROM automations_id_seq), %(id)s);

-- name: import
-- As `reserve`, under an id from elsewhere.
INSERT INTO automations (id, namespace, name, display_name, queue)
VALUES (%(id)s, %(namespace)s, %(name)s, %(display_name)s, '')
ON CONFLICT ON CONSTRAINT automations_name_key DO NOTHING;

-- name: id_holder
-- Whose id it is, in use or not.
SELECT namespace, name FROM automations WHERE id = %(id)s;

-- name: unreserve
-- Give up a reservation whose resource could not be created.
DELETE FROM automations WHERE id = %(id)s AND uid IS NULL;

-- name: drop_stale_reservations
-- Reservations whose maker died before it created the resource.
DELETE FROM automations WHERE uid IS NULL AND created_at < now() - interval '10 minutes';

-- name: retire
-- The resource is gone: that very object where the uid is known, so that a namesake made since stays in service.
UPDATE automations SET retired_at = now(), updated_at = now()
WHERE namespace = %(namespace)s AND name = %(name)s AND uid = coalesce(%(uid)s, uid) AND retired_at IS NULL
RETURNING *;

-- name: cancel_orphans
-- Pending jobs of retired automations end here; running ones may finish. Locked in order, as all who take several
-- jobs do.
WITH doomed AS (
    SELECT jobs.id FROM jobs JOIN automations ON automations.id = jobs.automation_id
    WHERE automations.retired_at IS NOT NULL AND jobs.status = 'pending'
    ORDER BY jobs.id FOR NO KEY UPDATE OF jobs
)
UPDATE jobs SET
    status = 'canceled', completed_at = now(), publish_due_at = NULL, waits_for_slot = false, attempt_open = false,
    result = jsonb_build_object('error', 'The automation was deleted before this job started.',
                                'reason', 'AUTOMATION_DELETED')
FROM doomed WHERE jobs.id = doomed.id AND jobs.status = 'pending';

-- name: cleared
-- Its queue and broker user are dealt with.
UPDATE automations SET cleared_at = now() WHERE id = %(id)s AND retired_at IS NOT NULL;

-- name: pause
-- Paused at run time: nothing is published for it. A pause anew keeps the first one's time.
UPDATE automations SET paused_at = coalesce(paused_at, now()), paused_reason = %(reason)s
WHERE id = %(id)s AND retired_at IS NULL AND uid IS NOT NULL
RETURNING *;

-- name: resume
-- The pause is over.
UPDATE automations SET paused_at = NULL, paused_reason = NULL
WHERE id = %(id)s AND retired_at IS NULL AND uid IS NOT NULL
RETURNING *;

-- name: note_worker
-- What was last seen of its worker's pods; one whose spec has no worker any more keeps none.
UPDATE automations SET worker_state = %(state)s WHERE id = %(id)s AND managed;

-- name: queue_users
-- How many automations in use share this queue.
SELECT count(*) AS users FROM automations WHERE queue = %(queue)s AND retired_at IS NULL AND uid IS NOT NULL;

-- name: run_facts
-- What the status of each automation in use tells of its jobs and its queue, and whether it is suspended. Dispatchers
-- look only at queues that jobs wait in: what they saw a while ago is not known any more.
SELECT automations.id, automations.namespace, automations.name, automations.suspended, automations.paused_at,
       automations.paused_reason, automations.queue, queue_states.ready AS messages,
       coalesce(open.pending, 0) AS pending, coalesce(open.running, 0) AS running,
       last.status AS last_status, last.completed_at AS last_finished_at
FROM automations
LEFT JOIN queue_states ON queue_states.queue = automations.queue
    AND queue_states.seen_at > now() - interval '2 minutes'
LEFT JOIN (
    SELECT automation_id, count(*) FILTER (WHERE status = 'pending') AS pending,
           count(*) FILTER (WHERE status = 'running') AS running
    FROM jobs WHERE status IN ('pending', 'running') GROUP BY automation_id
) AS open ON open.automation_id = automations.id
LEFT JOIN LATERAL (
    SELECT status, completed_at FROM jobs
    WHERE jobs.automation_id = automations.id AND completed_at IS NOT NULL
    ORDER BY completed_at DESC LIMIT 1
) AS last ON true
WHERE automations.retired_at IS NULL AND automations.uid IS NOT NULL;
