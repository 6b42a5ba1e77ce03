-- Grain: a way to predict that the table does not know yet.
-- Reads: methods
-- Writes: methods
INSERT INTO methods BY NAME
FROM (
    SELECT
        unnest($methods::VARCHAR[]) AS method,
        unnest($kinds::VARCHAR[]) AS kind,
        unnest($meanings::VARCHAR[]) AS meaning,
        unnest($match_scores::VARCHAR[]) AS match_score,
        unnest($shared_ranks::VARCHAR[]) AS shares_rank
)
WHERE method NOT IN (SELECT m.method FROM methods AS m);
