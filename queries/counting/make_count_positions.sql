-- Grain: a case and a position at which its query is active: how many keys and opponents stand at or before it, and what
-- the output feature does. All cases of a head at once.
-- Reads: counting_splits, input_activations, output_activations
-- Makes: count_positions
CREATE OR REPLACE TEMP TABLE count_positions AS
WITH cases AS (
    SELECT
        unnest($features::INTEGER[]) AS feature,
        unnest($pairs::INTEGER[]) AS pair,
        unnest($keys::INTEGER[]) AS key_feature,
        unnest($queries::INTEGER[]) AS query_feature,
        unnest($opponents::INTEGER[]) AS opponent_feature
),

-- Each activation with its number within the sequence: the last one up to a position is how many there are.
counted AS MATERIALIZED (
    SELECT
        feature,
        seq_id,
        pos,
        row_number() OVER (PARTITION BY feature, seq_id ORDER BY pos) AS n
    FROM input_activations
    SEMI JOIN (
        SELECT key_feature AS feature FROM cases
        UNION
        SELECT query_feature AS feature FROM cases
        UNION
        SELECT opponent_feature AS feature FROM cases
    ) AS named USING (feature)
    WHERE layer = $layer AND (pos > 0 OR $bos_keys)
),

keyed AS (
    SELECT
        c.key_feature,
        c.query_feature,
        q.seq_id,
        q.pos,
        coalesce(k.n, 0) AS n_key
    FROM (
        SELECT DISTINCT
            key_feature,
            query_feature
        FROM cases
    ) AS c
    INNER JOIN counted AS q ON c.query_feature = q.feature
    ASOF LEFT JOIN counted AS k
        ON c.key_feature = k.feature AND q.seq_id = k.seq_id AND q.pos >= k.pos
),

opposed AS (
    SELECT
        c.feature,
        c.pair,
        k.seq_id,
        k.pos,
        k.n_key,
        CASE WHEN c.opponent_feature IS NOT NULL THEN coalesce(o.n, 0) END AS n_opponent
    FROM cases AS c
    INNER JOIN keyed AS k USING (key_feature, query_feature)
    ASOF LEFT JOIN counted AS o
        ON c.opponent_feature = o.feature AND k.seq_id = o.seq_id AND k.pos >= o.pos
)

SELECT
    p.feature,
    p.pair,
    p.seq_id,
    p.pos::INTEGER AS pos,
    s.split,
    p.n_key::INTEGER AS n_key,
    p.n_opponent::INTEGER AS n_opponent,
    coalesce(y.activation, 0) AS activation
FROM opposed AS p
INNER JOIN counting_splits AS s ON p.seq_id = s.seq_id
LEFT JOIN output_activations AS y
    ON
        y.layer = $layer
        AND y.head = $head
        AND p.feature = y.feature
        AND p.seq_id = y.seq_id
        AND p.pos = y.pos;
