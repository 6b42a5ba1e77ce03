-- Grain: one row, if there are rules to test.
SELECT 1 AS found
FROM (
    SELECT scaling FROM distractors
    UNION ALL
    SELECT scaling FROM counting_rules
)
WHERE scaling = $scaling
LIMIT 1;
