-- Grain: a list of rules of a feature, with how it was mined.
-- Reads: rules, runs
SELECT
    r.method,
    r.scaling,
    max(r.rank) AS n_rules,
    coalesce(any_value((u.arguments ->> 'bos_keys')::BOOLEAN), FALSE) AS bos_keys
FROM rules AS r
INNER JOIN runs AS u ON r.run_id = u.run_id
WHERE r.layer = $layer AND r.head = $head AND r.feature = $feature
GROUP BY r.method, r.scaling
ORDER BY r.method, r.scaling;
