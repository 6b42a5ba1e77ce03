-- Grain: one row, if there are rules to test.
-- Reads: counting_rules, distractors
SELECT 1 AS found
FROM (
    SELECT scaling FROM distractors
    UNION ALL
    SELECT scaling FROM counting_rules
)
WHERE scaling = $scaling
LIMIT 1;
