-- name: partitions
-- The log partitions of the next eight weeks. Making one locks the whole table: rather give up and try again
-- than make every log line wait behind a long transaction.
SELECT set_config('lock_timeout', '2s', true), ensure_job_log_partitions(8)
