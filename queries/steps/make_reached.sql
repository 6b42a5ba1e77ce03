-- Grain: a candidate key of a mined feature and a position where the feature is active and the model attends to the key,
-- with the sum of attention times activation.
CREATE OR REPLACE TEMP TABLE reached AS
SELECT
    a.feature,
    a.seq_id,
    a.pos,
    i.feature AS key_feature,
    sum(s.weight * i.activation) AS amount
FROM output_activations AS a
SEMI JOIN mined_features AS f ON a.feature = f.feature
INNER JOIN attention_sources AS s ON a.seq_id = s.seq_id AND a.pos = s.query_pos
INNER JOIN input_activations AS i ON s.seq_id = i.seq_id AND s.key_pos = i.pos
SEMI JOIN candidate_keys AS c ON a.feature = c.feature AND i.feature = c.key_feature
WHERE
    a.layer = $layer AND a.head = $head AND a.pos > 0
    AND s.layer = $layer AND s.head = $head AND i.layer = $layer AND (i.pos > 0 OR $bos_keys)
GROUP BY a.feature, a.seq_id, a.pos, i.feature;
