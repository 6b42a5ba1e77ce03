-- Grain: a (key, query) pair of a mined feature, with what the key receives where the query and the feature are active:
-- sums of G[q,i] over at most $n_most train positions of each feature. Of a feature's pairs the $n_pairs whose sum times
-- V(f,i) is the largest in size are kept.
-- Reads: attention_sources, candidate_keys, input_activations, token_scales, train_active
-- Makes: candidate_pairs
CREATE OR REPLACE TEMP TABLE candidate_pairs AS
WITH amounts AS (
    SELECT
        t.feature,
        t.seq_id,
        t.pos,
        i.feature AS key_feature,
        exact_sum(a.weight_from_features * i.activation / s.ln_scale_from_features) AS amount
    FROM train_active AS t
    INNER JOIN attention_sources AS a ON t.seq_id = a.seq_id AND t.pos = a.query_pos
    INNER JOIN input_activations AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos
    INNER JOIN token_scales AS s ON a.seq_id = s.seq_id AND a.key_pos = s.pos
    SEMI JOIN candidate_keys AS c ON t.feature = c.feature AND i.feature = c.key_feature
    WHERE
        t.draw <= $n_most
        AND a.layer = $layer AND a.head = $head AND i.layer = $layer AND s.layer = $layer
        AND (a.key_pos > 0 OR $bos_keys)
    GROUP BY t.feature, t.seq_id, t.pos, i.feature
),

pairs AS (
    SELECT
        g.feature,
        g.key_feature,
        q.feature AS query_feature,
        exact_sum(g.amount) AS amount
    FROM amounts AS g
    INNER JOIN input_activations AS q ON g.seq_id = q.seq_id AND g.pos = q.pos
    WHERE q.layer = $layer
    GROUP BY g.feature, g.key_feature, q.feature
)

SELECT
    p.feature,
    p.key_feature,
    p.query_feature,
    c.value_score,
    p.amount
FROM pairs AS p
INNER JOIN candidate_keys AS c ON p.feature = c.feature AND p.key_feature = c.key_feature
QUALIFY
    row_number() OVER (
        PARTITION BY p.feature ORDER BY abs(c.value_score * p.amount) DESC, p.key_feature ASC, p.query_feature ASC
    ) <= $n_pairs;
