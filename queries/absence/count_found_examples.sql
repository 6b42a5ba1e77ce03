-- Grain: one row.
SELECT count(*) AS n_examples
FROM found_examples;
