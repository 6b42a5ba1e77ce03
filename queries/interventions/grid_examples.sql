-- Grain: a sequence for the counting grid: at its first query neither key nor opponent has occurred, and $room tokens fit
-- in before the end; a seeded draw of at most $n_examples per rule. BOS is looked at where the rule counts it.
-- Reads: counting_rules, input_activations, runs
WITH rules AS (
    SELECT
        r.feature,
        r.pair,
        r.key_feature,
        r.opponent_feature,
        r.query_feature,
        coalesce((u.arguments ->> '$.bos_keys')::BOOLEAN, FALSE) AS counts_bos
    FROM counting_rules AS r
    LEFT JOIN runs AS u ON r.run_id = u.run_id
    WHERE
        r.layer = $layer
        AND r.head = $head
        AND r.scaling = $scaling
        AND r.feature IN (SELECT unnest($features::INTEGER[]))
),

first_positions AS MATERIALIZED (
    SELECT
        a.feature,
        a.seq_id,
        min(a.pos) FILTER (WHERE a.pos > 0) AS pos,
        bool_or(a.pos = 0) AS at_bos
    FROM input_activations AS a
    SEMI JOIN (
        SELECT key_feature AS feature FROM rules
        UNION
        SELECT opponent_feature AS feature FROM rules
        UNION
        SELECT query_feature AS feature FROM rules
    ) AS named ON a.feature = named.feature
    WHERE a.layer = $layer
    GROUP BY a.feature, a.seq_id
)

SELECT
    r.feature,
    r.pair,
    q.seq_id,
    q.pos AS query_pos
FROM rules AS r
INNER JOIN first_positions AS q ON r.query_feature = q.feature
LEFT JOIN first_positions AS k ON r.key_feature = k.feature AND q.seq_id = k.seq_id
LEFT JOIN first_positions AS o ON r.opponent_feature = o.feature AND q.seq_id = o.seq_id
WHERE
    q.pos + $room < $seq_len
    AND coalesce(k.pos > q.pos, TRUE)
    AND coalesce(o.pos > q.pos, TRUE)
    AND NOT (r.counts_bos AND (coalesce(k.at_bos, FALSE) OR coalesce(o.at_bos, FALSE)))
QUALIFY
    row_number() OVER (
        PARTITION BY r.feature, r.pair
        ORDER BY mix32(mix32($seed) + q.seq_id), q.seq_id
    ) <= $n_examples
ORDER BY r.feature, r.pair, q.seq_id;
