-- Grain: a candidate query active at a train example; `example` numbers the rows of `train_examples` from 0. Under model
-- scaling the activation is divided by the layer norm's scale.
WITH numbered AS (
    SELECT
        e.feature,
        e.seq_id,
        e.pos,
        row_number() OVER (ORDER BY e.feature, e.seq_id, e.pos) - 1 AS example
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE e.layer = $layer AND e.head = $head AND e.example_set = 'paper' AND e.split = 'train'
)

SELECT
    n.example,
    i.feature,
    i.activation::DOUBLE / CASE $scaling WHEN 'model' THEN s.ln_scale ELSE 1 END AS activation
FROM numbered AS n
INNER JOIN input_activations AS i ON n.seq_id = i.seq_id AND n.pos = i.pos
INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
SEMI JOIN candidate_queries AS c ON n.feature = c.feature AND i.feature = c.query_feature
WHERE i.layer = $layer
ORDER BY n.example;
