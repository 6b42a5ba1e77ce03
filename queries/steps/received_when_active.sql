-- Grain: a mined feature and an input feature: the sum of G[q,i] over the train positions where the feature is active.
WITH sources AS (
    SELECT
        t.feature,
        a.seq_id,
        a.key_pos,
        sum(a.weight_from_features) AS weight
    FROM train_active AS t
    INNER JOIN attention_sources AS a ON t.seq_id = a.seq_id AND t.pos = a.query_pos
    WHERE a.layer = $layer AND a.head = $head AND (a.key_pos > 0 OR $bos_keys)
    GROUP BY t.feature, a.seq_id, a.key_pos
)

SELECT
    r.feature,
    i.feature AS key_feature,
    sum(r.weight * i.activation / s.ln_scale_from_features) AS total
FROM sources AS r
INNER JOIN input_activations AS i ON r.seq_id = i.seq_id AND r.key_pos = i.pos
INNER JOIN token_scales AS s ON r.seq_id = s.seq_id AND r.key_pos = s.pos
WHERE i.layer = $layer AND s.layer = $layer
GROUP BY r.feature, i.feature;
