-- Grain: an input feature active at a token of a sequence with examples. Under model scaling the activation is divided
-- by the layer norm's scale, once here instead of once per example.
CREATE OR REPLACE TEMP TABLE scaled_activations AS
SELECT
    i.seq_id,
    i.pos,
    i.feature,
    i.activation::DOUBLE / CASE $scaling WHEN 'model' THEN s.ln_scale ELSE 1 END AS activation
FROM input_activations AS i
INNER JOIN token_scales AS s
    ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
WHERE
    i.layer = $layer
    AND i.seq_id IN (
        SELECT e.seq_id
        FROM examples AS e
        SEMI JOIN mined_features AS f ON e.feature = f.feature
        WHERE e.layer = $layer AND e.head = $head AND e.example_set = 'paper'
    );
