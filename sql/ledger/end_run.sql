-- Grain of the update: a run that ended.
-- Writes: runs
UPDATE runs SET
    status = $status,
    finished_at = now() AT TIME ZONE 'UTC'
WHERE run_id = $run_id;
