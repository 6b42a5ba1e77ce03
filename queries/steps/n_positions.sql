-- Grain: one row: the positions of the corpus after BOS.
SELECT count(*) AS n_positions
FROM tokens
WHERE pos > 0;
