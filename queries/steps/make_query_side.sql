-- Grain: an input feature active at the query position of an example. `activation` is divided by the layer norm's scale
-- under model scaling.
CREATE OR REPLACE TEMP TABLE query_side AS
SELECT
    e.feature,
    e.seq_id,
    e.pos,
    i.feature AS query_feature,
    i.activation::DOUBLE / CASE $scaling WHEN 'model' THEN s.ln_scale ELSE 1 END AS activation
FROM examples AS e
SEMI JOIN mined_features AS f ON e.feature = f.feature
INNER JOIN input_activations AS i
    ON e.layer = i.layer AND e.seq_id = i.seq_id AND e.pos = i.pos
INNER JOIN token_scales AS s
    ON e.layer = s.layer AND e.seq_id = s.seq_id AND e.pos = s.pos
WHERE e.layer = $layer AND e.head = $head AND e.example_set = 'paper';
