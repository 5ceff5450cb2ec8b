-- name: by_name
-- A calendar by its resource's name, retired or not.
SELECT * FROM calendars WHERE namespace = %(namespace)s AND name = %(name)s

-- name: list_all
-- Every calendar whose resource exists.
SELECT * FROM calendars WHERE retired_at IS NULL ORDER BY id

-- name: of_namespaces
-- The calendars of these namespaces, retired ones too: schedules that use them still go by them.
SELECT namespace, name, spec, retired_at FROM calendars WHERE namespace = ANY(%(namespaces)s::text[]) ORDER BY id

-- name: hold_of_namespaces
-- The same, none of them edited before this transaction ends; an edit in progress is waited for.
SELECT namespace, name, spec, retired_at FROM calendars WHERE namespace = ANY(%(namespaces)s::text[]) ORDER BY id
FOR SHARE

-- name: one_at_a_time
-- Whoever edits calendars does it alone: two edits at once could make a circle that neither sees.
LOCK TABLE calendars IN SHARE ROW EXCLUSIVE MODE

-- name: upsert
-- Take over what a resource says, unless the row has seen this generation.
INSERT INTO calendars AS c (namespace, name, uid, generation, spec)
VALUES (%(namespace)s, %(name)s, %(uid)s, %(generation)s, %(spec)s)
ON CONFLICT ON CONSTRAINT calendars_name_key DO UPDATE SET
    uid = excluded.uid, generation = excluded.generation, spec = excluded.spec, retired_at = NULL, updated_at = now()
WHERE c.uid IS DISTINCT FROM excluded.uid OR c.generation < excluded.generation OR c.retired_at IS NOT NULL

-- name: retire
-- The resource is gone: no schedule may begin to use it, those that do go on. With a uid only that very object.
UPDATE calendars SET retired_at = now(), updated_at = now()
WHERE namespace = %(namespace)s AND name = %(name)s AND uid = coalesce(%(uid)s, uid) AND retired_at IS NULL
