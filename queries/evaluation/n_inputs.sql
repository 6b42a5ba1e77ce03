-- Grain: one row: the input features of a head.
-- Reads: projections
SELECT count(*) AS n_inputs
FROM projections
WHERE layer = $layer AND head = $head;
