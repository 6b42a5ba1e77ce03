-- Grain: a candidate query active at a train example; `example` is its number in `train_examples`. Under model scaling the
-- activation is divided by the layer norm's scale.
-- Reads: candidate_queries, input_activations, token_scales, train_examples
SELECT
    n.example,
    i.feature,
    i.activation::DOUBLE / CASE $scaling WHEN 'model' THEN s.ln_scale ELSE 1 END AS activation
FROM train_examples AS n
INNER JOIN input_activations AS i ON n.seq_id = i.seq_id AND n.pos = i.pos
INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
SEMI JOIN candidate_queries AS c ON n.feature = c.feature AND i.feature = c.query_feature
WHERE i.layer = $layer
ORDER BY n.example;
