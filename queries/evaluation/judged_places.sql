-- Grain: a judged position, in order of its place; its split is numbered in the order train, val, test.
-- Reads: judged
SELECT
    scope,
    seq_id,
    enum_code(split) AS split
FROM judged
ORDER BY place;
