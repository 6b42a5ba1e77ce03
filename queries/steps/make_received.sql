-- Grain: an input feature and a judged position that attention carries it to. `amount` is G[q,i] of method.md section 3.5,
-- without BOS as a key unless asked for; the other two take every key in, with the attention computed from the features
-- and with the model's own. Activations are those divided by the scale computed from the reconstruction. Positions that receive the same
-- must tie, whatever the order of the sum: `amount` is rounded to multiples of 2^-32.
CREATE OR REPLACE TEMP TABLE received AS
SELECT
    j.scope,
    j.place,
    i.feature AS key_feature,
    coalesce(
        round(sum(a.weight_from_features * i.activation) FILTER (WHERE a.key_pos > 0 OR $bos_keys) * 4294967296), 0
    ) / 4294967296 AS amount,
    sum(a.weight_from_features * i.activation) AS amount_from_features,
    sum(a.weight * i.activation) AS amount_by_model
FROM judged AS j
INNER JOIN attention_sources AS a ON j.seq_id = a.seq_id AND j.pos = a.query_pos
INNER JOIN scaled_activations AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos
WHERE a.layer = $layer AND a.head = $head
GROUP BY j.scope, j.place, i.feature;
