-- Grain: a (key, query) pair of a mined feature, with what the key receives where the query and the feature are active:
-- sums of G[q,i] over the train positions drawn for the feature. Of a feature's pairs the $n_pairs whose sum times V(f,i)
-- is the largest in size are kept.
-- Reads: candidate_keys, gate_positions, input_activations, received
-- Makes: candidate_pairs
CREATE OR REPLACE TEMP TABLE candidate_pairs AS
WITH pairs AS (
    SELECT
        p.scope AS feature,
        g.key_feature,
        q.feature AS query_feature,
        exact_sum(g.amount) AS amount
    FROM received AS g
    INNER JOIN gate_positions AS p ON g.place = p.place
    INNER JOIN input_activations AS q ON p.seq_id = q.seq_id AND p.pos = q.pos
    WHERE p.scope >= 0 AND q.layer = $layer
    GROUP BY p.scope, g.key_feature, q.feature
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
