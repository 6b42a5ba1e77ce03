-- Grain: a candidate key active at a position at or before a train example; `example` is its number in `train_examples`.
-- Under model scaling the activation is divided by the layer norm's scale.
-- Reads: candidate_keys, input_activations, token_scales, train_examples
SELECT
    n.example,
    i.pos,
    i.feature,
    i.activation::DOUBLE / CASE $scaling WHEN 'model' THEN s.ln_scale ELSE 1 END AS activation
FROM train_examples AS n
INNER JOIN input_activations AS i ON n.seq_id = i.seq_id AND n.pos >= i.pos
INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
SEMI JOIN candidate_keys AS c ON n.feature = c.feature AND i.feature = c.key_feature
WHERE i.layer = $layer AND (i.pos > 0 OR $bos_keys)
ORDER BY n.example;
