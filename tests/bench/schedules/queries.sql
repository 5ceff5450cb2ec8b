-- What the measured databases hold, and what is counted in them.

-- name: automations
-- Automations, as the operator would have left them; all on one queue.
INSERT INTO automations (namespace, name, uid, display_name, script_path, queue, default_params)
SELECT 'maestro-bots', 'bot-' || n, 'uid-' || n, 'Bot ' || n, 'bots/bench.py', 'bench', '{"portal": "prefeitura"}'
FROM generate_series(1, %(count)s) AS n

-- name: schedules
-- Schedules, as registering them would have left them.
INSERT INTO schedules (namespace, name, uid, automation_name, cron, time_zone, parameters, calendar_name,
                       decided_until, due_at, next_run_at)
SELECT 'maestro-bots', 's-' || n, 'uid', 'bot-' || n %% %(automations)s + 1, cron, time_zone,
       '{"from": "{{first_of_last_month}}", "to": "{{yesterday}}", "cnpj": "00000000000191"}', calendar_name,
       now(), %(due_at)s, %(due_at)s
FROM unnest(%(crons)s::text[], %(time_zones)s::text[], %(calendars)s::text[])
    WITH ORDINALITY AS said (cron, time_zone, calendar_name, n)

-- name: unpublished
-- How many of so many jobs the broker has not confirmed yet.
SELECT %(count)s - count(settled_at) FROM jobs

-- name: lags
-- Milliseconds from the nominal instant until a job's publishing was confirmed and settled.
SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
    ORDER BY extract(epoch FROM settled_at - scheduled_for) * 1000)
FROM jobs

-- name: once
-- Whether each schedule has one occurrence, fired, with one job.
SELECT count(*) = %(count)s AND count(DISTINCT schedule_id) = %(count)s AND bool_and(outcome = 'fired')
       AND (SELECT count(*) FROM jobs) = %(count)s
FROM occurrences
