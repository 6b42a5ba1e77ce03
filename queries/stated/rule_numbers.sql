-- Grain: a rule that is read, in order of its number.
-- Reads: read_rules
SELECT
    rule,
    feature,
    method,
    scaling,
    rank
FROM read_rules
ORDER BY rule;
