-- What the measured databases hold, and what is counted in them.

-- name: register
-- Registered automations, as the operator would have left them.
INSERT INTO automations (namespace, name, uid, display_name, script_path, queue)
SELECT 'maestro-bots', name, 'uid-of-' || name, name, 'bots/bench.py', 'bench.' || name
FROM unnest(%(names)s::text[]) AS wanted (name)

-- name: registered
-- All automations.
SELECT id, name FROM automations ORDER BY id

-- name: history
-- Jobs of the past 30 days, evenly spread over time and automations: 88 of 100 completed, 4 without invoices,
-- 6 failed, 2 canceled; a fifth of them by schedules; the newest 20 are running, or pending.
WITH drawn AS (
    SELECT n, n %% cardinality(%(automation_ids)s::integer[]) + 1 AS place, abs(hashint4(n)) %% 100 AS lot,
           now() - interval '30 days' * (1 - n::float8 / (%(jobs)s + 1)) AS created_at
    FROM generate_series(1, %(jobs)s::integer) AS n
), described AS (
    SELECT *, (%(automation_ids)s::integer[])[place] AS automation_id,
           CASE
               WHEN n > %(jobs)s - 10 THEN 'pending'
               WHEN n > %(jobs)s - 20 THEN 'running'
               WHEN lot < 88 THEN 'completed'
               WHEN lot < 92 THEN 'completed_no_invoices'
               WHEN lot < 98 THEN 'failed'
               ELSE 'canceled'
           END AS status,
           created_at + interval '1 s' * (1 + lot / 10.0) AS began_at
    FROM drawn
)
INSERT INTO jobs (id, automation_id, status, parameters, result, user_id, schedule_id, scheduled_for, attempt,
                  created_at, started_at, completed_at, last_heartbeat_at)
SELECT overlay(uuid7_floor(created_at)::text PLACING substr(md5(n::text), 1, 12) FROM 25)::uuid,
       automation_id, status, jsonb_build_object('month', '2026-11', 'number', n),
       CASE status
           WHEN 'completed' THEN '{"summary": {"ok": 12, "failed": []}}'::jsonb
           WHEN 'failed' THEN jsonb_build_object('error', 'the portal did not answer', 'error_class',
               (ARRAY['PORTAL_DOWN', 'CAPTCHA_FAILED', 'RATE_LIMITED', 'CREDENTIAL_INVALID'])[n %% 4 + 1])
       END,
       CASE WHEN n %% 5 > 0 THEN 'user-' || abs(hashint4(n * 7)) %% 40 END,
       CASE WHEN n %% 5 = 0 THEN place END,
       CASE WHEN n %% 5 = 0 THEN created_at END,
       CASE status WHEN 'pending' THEN 0 ELSE 1 END,
       created_at,
       CASE WHEN status <> 'pending' THEN began_at END,
       CASE WHEN status NOT IN ('pending', 'running') THEN began_at + interval '1 s' * (n %% 300) END,
       CASE WHEN status <> 'pending' THEN greatest(began_at, now()) END
FROM described
ORDER BY n

-- name: owed
-- How many jobs the broker has not confirmed yet.
SELECT count(*) FROM jobs WHERE publish_due_at IS NOT NULL

-- name: due
-- How many of those the dispatcher ought to publish by now.
SELECT count(*) FROM jobs WHERE publish_due_at <= now()

-- name: completed
-- How many jobs of an automation a worker has done.
SELECT count(*) FROM jobs WHERE automation_id = %(automation_id)s AND status = 'completed'

-- name: completed_by_celery
-- How many results Celery has kept.
SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'

-- name: completed_by_procrastinate
-- How many jobs procrastinate has done.
SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'
