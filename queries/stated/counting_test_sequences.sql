-- Grain: a sequence that counting rules of a seed were not chosen on.
-- Reads: counting_splits
SELECT seq_id
FROM counting_splits
WHERE split = 'test';
