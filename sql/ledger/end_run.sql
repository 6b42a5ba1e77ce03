-- Grain of the update: a run that ended.
UPDATE runs SET
    status = $status,
    finished_at = now() AT TIME ZONE 'UTC'
WHERE run_id = $run_id;
