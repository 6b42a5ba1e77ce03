-- Grain: a feature of a page with its best list on all positions, where it can be said where that list is right; numbered by
-- `scope` are the draws of positions that lists were judged on.
-- Reads: best_lists, methods, rule_evaluations, runs
-- Makes: judged_lists
CREATE OR REPLACE TEMP TABLE judged_lists AS
SELECT
    e.feature,
    e.method,
    e.scaling,
    e.n_rules,
    e.threshold,
    m.match_score,
    coalesce((u.arguments ->> 'bos_keys')::BOOLEAN, FALSE) AS bos_keys,
    (u.arguments ->> 'seed')::BIGINT AS seed,
    (u.arguments ->> 'held_out')::BIGINT AS held_out,
    dense_rank() OVER (ORDER BY (u.arguments ->> 'seed')::BIGINT, (u.arguments ->> 'held_out')::BIGINT)::INTEGER AS scope
FROM best_lists AS b
INNER JOIN rule_evaluations AS e
    ON
        b.layer = e.layer AND b.head = e.head AND b.feature = e.feature AND b.method = e.method
        AND b.scaling = e.scaling AND b.n_rules = e.n_rules AND b.example_set = e.example_set
INNER JOIN methods AS m ON e.method = m.method
INNER JOIN runs AS u ON e.run_id = u.run_id
WHERE
    b.layer = $layer AND b.head = $head AND b.example_set = 'all_positions'
    AND m.match_score IN ('carried', 'holds')
    AND b.feature IN (SELECT unnest($features::INTEGER[]) AS feature);
