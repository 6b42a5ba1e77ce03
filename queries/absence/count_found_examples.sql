-- Grain: one row.
-- Reads: found_examples
SELECT count(*) AS n_examples
FROM found_examples;
