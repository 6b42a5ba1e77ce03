-- Grain: a run, from its first moment.
-- Writes: runs
INSERT INTO runs
SELECT
    $run_id,
    $command,
    $arguments,
    $versions,
    $environment,
    now() AT TIME ZONE 'UTC',
    NULL,
    'running';
