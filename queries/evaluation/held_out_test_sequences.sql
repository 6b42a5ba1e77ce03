-- Grain: a sequence whose every position rules are judged on, of the test part.
-- Reads: held_out_positions
SELECT DISTINCT seq_id
FROM held_out_positions
WHERE split = 'test'
ORDER BY seq_id;
