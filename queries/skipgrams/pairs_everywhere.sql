-- Grain: a candidate pair and its feature: besides its sum where the feature is active, the mean of G[q,i] 1[a_j > 0]
-- over the positions that stand for all train positions.
-- Reads: attention_sources, base_positions, candidate_pairs, input_activations, token_scales
WITH amounts AS (
    SELECT
        d.seq_id,
        d.pos,
        i.feature AS key_feature,
        exact_sum(a.weight_from_features * i.activation / s.ln_scale_from_features) AS amount
    FROM base_positions AS d
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
        exact_sum(g.amount) / (SELECT count(*) FROM base_positions) AS amount
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
