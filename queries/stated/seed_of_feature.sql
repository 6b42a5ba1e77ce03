-- Grain: the run that mined rules of a feature last: what they have not learnt from follows from its seed.
-- Reads: rules, runs, stated_rules
SELECT (r.arguments ->> '$.seed')::BIGINT AS seed
FROM runs AS r
WHERE
    r.run_id = (
        SELECT max(f.run_id)
        FROM (
            SELECT s.run_id
            FROM stated_rules AS s
            WHERE s.layer = $layer AND s.head = $head AND s.feature = $feature
            UNION ALL
            SELECT k.run_id
            FROM rules AS k
            WHERE k.layer = $layer AND k.head = $head AND k.feature = $feature
        ) AS f
    );
