-- Grain: a candidate pair and its feature: besides its sum where the feature is active, the mean of G[q,i] 1[a_j > 0]
-- over the positions that stand for all train positions.
-- Reads: base_positions, candidate_pairs, gate_positions, input_activations, received
WITH everywhere AS (
    SELECT
        g.key_feature,
        q.feature AS query_feature,
        exact_sum(g.amount) / (SELECT count(*) FROM base_positions) AS amount
    FROM received AS g
    INNER JOIN gate_positions AS p ON g.place = p.place
    INNER JOIN input_activations AS q ON p.seq_id = q.seq_id AND p.pos = q.pos
    WHERE p.scope = -1 AND q.layer = $layer
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
