-- depends: 0001.initial

-- What an Automation says of its jobs' life.
ALTER TABLE automations
    ADD COLUMN priority                  smallint    NOT NULL DEFAULT 0,
    ADD COLUMN max_concurrency           integer,               -- null: as many at once as there are workers
    ADD COLUMN start_deadline_seconds    integer,
    ADD COLUMN timeout_seconds           integer,
    ADD COLUMN heartbeat_timeout_seconds integer     NOT NULL DEFAULT 300,
    ADD COLUMN retry_policy              jsonb       NOT NULL
        DEFAULT '{"maxAttempts": 3, "backoffSeconds": 10, "backoffFactor": 2, "rules": []}',
    -- The run-time pause, by a person or by a retry rule; spec.suspend is the column `suspended`.
    ADD COLUMN paused_at                 timestamptz,
    ADD COLUMN paused_reason             text,
    -- What the operator last saw of spec.worker's pods: {"reason", "message", "replicas", "readyReplicas"}.
    ADD COLUMN worker_state              jsonb;

ALTER TABLE jobs
    ADD COLUMN priority         smallint NOT NULL DEFAULT 0,
    -- Its automation has a maxConcurrency and it holds no slot yet: nothing is published for it. A pending job that
    -- does not wait holds a slot, as a running one does; they are counted, never a counter kept.
    ADD COLUMN waits_for_slot   boolean  NOT NULL DEFAULT false,
    ADD COLUMN start_deadline   timestamptz, -- of the first start
    ADD COLUMN attempt_deadline timestamptz, -- of the running attempt
    ADD COLUMN timed_out_at     timestamptz, -- the attempt passed its deadline and was asked to stop
    ADD COLUMN released         integer  NOT NULL DEFAULT 0, -- attempts handed back, which don't count
    -- From its start until it ends or is handed back. A rescued attempt (pending again) stays open until another
    -- starts: its finish is still taken.
    ADD COLUMN attempt_open     boolean  NOT NULL DEFAULT false,
    -- What the last attempt reported, where that is not what the job became ({"status", "result"}): told again, it is
    -- recognised.
    ADD COLUMN attempt_end      jsonb,
    ADD COLUMN polled           boolean  NOT NULL DEFAULT false, -- the attempt sends heartbeats or asks for cancellation
    ADD COLUMN settled_at       timestamptz, -- when the broker last confirmed its message
    ADD COLUMN losses           smallint NOT NULL DEFAULT 0, -- messages of it that were thought lost
    ADD COLUMN progress         real,
    ADD COLUMN progress_message text,
    -- At most 64 characters, whatever a bot sends: an index holds it.
    ADD COLUMN error_class      text GENERATED ALWAYS AS
        (CASE WHEN status = 'failed' THEN left(coalesce(result ->> 'error_class', 'UNKNOWN'), 64) END) STORED;
UPDATE jobs SET attempt_open = true WHERE status = 'running';
CREATE INDEX jobs_waiting ON jobs (automation_id, priority DESC, id) WHERE waits_for_slot AND status = 'pending';
CREATE INDEX jobs_start_deadline ON jobs (start_deadline)
    WHERE start_deadline IS NOT NULL AND status = 'pending' AND attempt = 0;
CREATE INDEX jobs_attempt_deadline ON jobs (attempt_deadline) WHERE attempt_deadline IS NOT NULL AND status = 'running';

-- The action of the first rule that names the error class; without one, only a lost worker's job is tried again.
CREATE FUNCTION retry_action(policy jsonb, error_class text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        (SELECT rule ->> 'action'
         FROM jsonb_array_elements(coalesce(policy -> 'rules', '[]')) WITH ORDINALITY AS rules (rule, position)
         WHERE rule -> 'errorClasses' ? error_class
         ORDER BY position LIMIT 1),
        CASE error_class WHEN 'WORKER_LOST' THEN 'Retry' ELSE 'Fail' END)
$$;

-- What becomes of a job whose attempt failed, this many attempts having counted: Retry, Fail or Suspend.
CREATE FUNCTION after_failure(policy jsonb, error_class text, attempts integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE retry_action(policy, error_class)
        WHEN 'Retry' THEN CASE WHEN attempts < coalesce((policy ->> 'maxAttempts')::integer, 3) THEN 'Retry' ELSE 'Fail' END
        WHEN 'Suspend' THEN 'Suspend'
        ELSE 'Fail'
    END
$$;

-- The result of an attempt that its time limit ended, with whatever it reported itself.
CREATE FUNCTION timeout_result(reported jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(reported) WHEN 'object' THEN reported ELSE '{}' END || jsonb_build_object(
        'error_class', 'JOB_TIMEOUT',
        'error', 'The attempt ran longer than the automation''s timeoutSeconds and was ended.')
$$;

-- The pause before the attempt after this many, a day at most.
CREATE FUNCTION retry_delay(policy jsonb, attempts integer) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT make_interval(secs => least(86400.0,
        coalesce((policy ->> 'backoffSeconds')::double precision, 10)
        * power(coalesce((policy ->> 'backoffFactor')::double precision, 2),
                least(greatest(attempts - 1, 0), 60))))
$$;

-- Since when the apis have been up without a gap: only then does a worker's silence count.
CREATE TABLE service_clock (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    up_since  timestamptz NOT NULL,
    last_beat timestamptz NOT NULL
);

-- The same key of the same caller on the same route: the same job.
CREATE TABLE idempotency_keys (
    caller     text        NOT NULL,
    route      text        NOT NULL, -- what was called and on what, such as execute/7
    key        text        NOT NULL,
    body_hash  bytea       NOT NULL,
    job_id     uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (caller, route, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- What the dispatcher last saw of the queues that pending jobs are in.
CREATE TABLE queue_states (
    queue       text PRIMARY KEY,
    ready       integer     NOT NULL, -- messages that nobody has taken
    consumers   integer     NOT NULL,
    seen_at     timestamptz NOT NULL,
    empty_since timestamptz           -- first of the looks in a row that found no ready message, or no queue
);

-- Whatever reached the dead-letter queue and tells of no job.
CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    queue       text,                 -- where it died
    reason      text,                 -- rejected, expired, maxlen or delivery_limit
    job_id      uuid,
    headers     jsonb,
    body        bytea       NOT NULL
);
