-- depends: 0002.job-life

-- Lists of jobs: for any of their filters the newest keys stand in order in one of these, status by status (a list
-- without a status merges the six). Ascending and read backwards, since new entries then go to the end of their
-- range, which fills pages; the descending ones took twice the room.
-- Every change of a job's state makes new entries in all of its indexes, so a filter by automation and user has none
-- of its own: it reads one of two, passing over the entries that the other column refuses.
CREATE INDEX jobs_by_status ON jobs (status, created_at, id);
DROP INDEX jobs_by_automation;
CREATE INDEX jobs_by_automation ON jobs (automation_id, status, created_at, id) INCLUDE (user_id);
CREATE INDEX jobs_by_user ON jobs (user_id, status, created_at, id) INCLUDE (automation_id)
    WHERE user_id IS NOT NULL;
DROP INDEX jobs_newest;
-- jobs_by_status and jobs_by_automation find the open ones as well.
DROP INDEX jobs_open;

-- Statistics of ended jobs and the latest ends of each automation, out of this index alone.
DROP INDEX jobs_ended;
CREATE INDEX jobs_ended ON jobs (automation_id, completed_at) INCLUDE (status, started_at, schedule_id, error_class)
    WHERE completed_at IS NOT NULL;
