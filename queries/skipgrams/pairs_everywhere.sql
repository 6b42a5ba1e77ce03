-- Grain: a candidate pair and its feature: besides its sum where the feature is active, the mean of G[q,i] 1[a_j > 0]
-- over train positions, of which at most $n_most are drawn by a hash.
-- Reads: attention_sources, candidate_pairs, input_activations, sequence_splits, token_scales, tokens
WITH drawn AS (
    SELECT
        t.seq_id,
        t.pos
    FROM tokens AS t
    CROSS JOIN (SELECT mix32($seed) AS seed) AS h
    WHERE t.pos > 0 AND t.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train')
    ORDER BY mix32(h.seed + 65536 * t.seq_id::BIGINT + t.pos) ASC, t.seq_id ASC, t.pos ASC
    LIMIT $n_most
),

amounts AS (
    SELECT
        d.seq_id,
        d.pos,
        i.feature AS key_feature,
        exact_sum(a.weight_from_features * i.activation / s.ln_scale_from_features) AS amount
    FROM drawn AS d
    INNER JOIN attention_sources AS a ON d.seq_id = a.seq_id AND d.pos = a.query_pos
    INNER JOIN input_activations AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos
    INNER JOIN token_scales AS s ON a.seq_id = s.seq_id AND a.key_pos = s.pos
    WHERE
        a.layer = $layer AND a.head = $head AND i.layer = $layer AND s.layer = $layer
        AND (a.key_pos > 0 OR $bos_keys)
        AND i.feature IN (SELECT p.key_feature FROM candidate_pairs AS p)
    GROUP BY d.seq_id, d.pos, i.feature
),

everywhere AS (
    SELECT
        g.key_feature,
        q.feature AS query_feature,
        exact_sum(g.amount) / (SELECT count(*) FROM drawn) AS amount
    FROM amounts AS g
    INNER JOIN input_activations AS q ON g.seq_id = q.seq_id AND g.pos = q.pos
    WHERE q.layer = $layer
    GROUP BY g.key_feature, q.feature
)

SELECT
    p.feature,
    p.key_feature,
    p.query_feature,
    p.value_score,
    p.amount,
    coalesce(e.amount, 0) AS mean_everywhere
FROM candidate_pairs AS p
LEFT JOIN everywhere AS e ON p.key_feature = e.key_feature AND p.query_feature = e.query_feature;
