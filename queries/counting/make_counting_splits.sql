-- Grain: a sequence, and the half of it under the seed of a counting run: thresholds are chosen on train and judged on test.
-- The 2 keeps it from being that of another draw of the same seed (queries/heads/run.py).
-- Reads: tokens
-- Makes: counting_splits
CREATE OR REPLACE TEMP TABLE counting_splits AS
SELECT
    seq_id,
    CASE mix32(mix32($seed + 2) + seq_id) % 2 WHEN 0 THEN 'train' ELSE 'test' END AS split
FROM tokens
WHERE pos = 0;
