-- Grain: one row: the positions of the corpus after BOS.
-- Reads: tokens
SELECT count(*) AS n_positions
FROM tokens
WHERE pos > 0;
