-- Grain: a candidate pair of a mined feature with a hit. It matches where the query is active and the key is or was; it is
-- supported where the feature is active too and the model attends to the key.
WITH supported AS (
    SELECT
        r.feature,
        r.key_feature,
        p.query_feature,
        count(*) AS support_positions,
        count(DISTINCT r.seq_id) AS support_sequences,
        sum(r.amount) AS amount
    FROM reached AS r
    INNER JOIN input_activations AS q ON r.seq_id = q.seq_id AND r.pos = q.pos
    INNER JOIN candidate_pairs AS p
        ON r.feature = p.feature AND r.key_feature = p.key_feature AND q.feature = p.query_feature
    WHERE q.layer = $layer
    GROUP BY r.feature, r.key_feature, p.query_feature
),

sizes AS (
    SELECT
        a.feature,
        count(*) AS n_active
    FROM output_activations AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    WHERE a.layer = $layer AND a.head = $head AND a.pos > 0
    GROUP BY a.feature
)

SELECT
    p.feature,
    p.key_feature,
    p.query_feature,
    p.value_score,
    coalesce(s.support_positions, 0) AS support_positions,
    coalesce(s.support_sequences, 0) AS support_sequences,
    coalesce(p.value_score * s.amount / s.support_positions, 0) AS contribution,
    c.n_matches,
    c.n_hits,
    c.n_train_matches,
    c.n_train_hits,
    z.n_active,
    (SELECT count(*) FROM tokens AS t WHERE t.pos > 0) AS n_positions
FROM candidate_pairs AS p
INNER JOIN pair_counts AS c
    ON p.feature = c.feature AND p.key_feature = c.key_feature AND p.query_feature = c.query_feature
INNER JOIN sizes AS z ON p.feature = z.feature
LEFT JOIN supported AS s
    ON p.feature = s.feature AND p.key_feature = s.key_feature AND p.query_feature = s.query_feature
WHERE c.n_hits > 0;
