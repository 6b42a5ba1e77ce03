-- Grain: an example and a bucket of ranks with a match. Scores as in METHOD.md section 5: with a query
-- (a_q a_k S)(a_k V), without one a_k V; every n_rules is served by one join and a running maximum over buckets.
INSERT INTO rule_scores BY NAME
WITH buckets AS (
    SELECT
        n_rules,
        coalesce(lag(n_rules) OVER (ORDER BY n_rules), 0) AS above
    FROM (SELECT unnest($grid::UINTEGER[]) AS n_rules)
),

bucketed AS (
    SELECT
        r.feature,
        r.method,
        r.key_feature,
        r.query_feature,
        r.attn_score,
        r.value_score,
        b.n_rules
    FROM rules AS r
    SEMI JOIN mined_features AS f ON r.feature = f.feature
    INNER JOIN buckets AS b ON r.rank > b.above AND r.rank <= b.n_rules
    WHERE r.layer = $layer AND r.head = $head AND r.scaling = $scaling
),

matches AS (
    SELECT
        r.feature,
        r.method,
        q.seq_id,
        q.pos,
        r.n_rules,
        max(greatest(
            (q.activation * k.largest * r.attn_score) * (k.largest * r.value_score),
            (q.activation * k.smallest * r.attn_score) * (k.smallest * r.value_score)
        )) AS score
    FROM bucketed AS r
    INNER JOIN query_side AS q ON r.feature = q.feature AND r.query_feature = q.query_feature
    INNER JOIN key_side AS k
        ON
            r.feature = k.feature
            AND r.key_feature = k.key_feature
            AND q.seq_id = k.seq_id
            AND q.pos = k.pos
    GROUP BY r.feature, r.method, q.seq_id, q.pos, r.n_rules
    UNION ALL
    SELECT
        r.feature,
        r.method,
        k.seq_id,
        k.pos,
        r.n_rules,
        max(greatest(k.largest * r.value_score, k.smallest * r.value_score)) AS score
    FROM bucketed AS r
    INNER JOIN key_side AS k ON r.feature = k.feature AND r.key_feature = k.key_feature
    WHERE r.query_feature IS NULL
    GROUP BY r.feature, r.method, k.seq_id, k.pos, r.n_rules
)

SELECT
    $layer AS layer,
    $head AS head,
    m.feature,
    m.method,
    $scaling AS scaling,
    'paper' AS example_set,
    m.seq_id,
    m.pos,
    m.n_rules,
    m.score
FROM matches AS m;
