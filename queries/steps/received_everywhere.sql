-- Grain: an input feature: the sum of G[q,i] over all train positions after BOS.
WITH sources AS (
    SELECT
        a.seq_id,
        a.key_pos,
        sum(a.weight_from_features) AS weight
    FROM attention_sources AS a
    WHERE
        a.layer = $layer AND a.head = $head AND a.query_pos > 0 AND (a.key_pos > 0 OR $bos_keys)
        AND sequence_split($seed, a.seq_id) = 'train'
    GROUP BY a.seq_id, a.key_pos
)

SELECT
    i.feature AS key_feature,
    sum(r.weight * i.activation / s.ln_scale_from_features) AS total
FROM sources AS r
INNER JOIN input_activations AS i ON r.seq_id = i.seq_id AND r.key_pos = i.pos
INNER JOIN token_scales AS s ON r.seq_id = s.seq_id AND r.key_pos = s.pos
WHERE i.layer = $layer AND s.layer = $layer
GROUP BY i.feature;
