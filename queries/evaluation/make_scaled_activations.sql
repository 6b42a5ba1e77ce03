-- Grain: an input feature active at a token of a sequence that is judged. Under model scaling the
-- activation is divided by the layer norm's scale, under `features` by the scale computed from the reconstruction: once
-- here instead of once per position that is judged.
-- Reads: input_activations, judged, token_scales
-- Makes: scaled_activations
CREATE OR REPLACE TEMP TABLE scaled_activations AS
SELECT
    i.seq_id,
    i.pos,
    i.feature,
    i.activation::DOUBLE
    / CASE $scaling WHEN 'model' THEN s.ln_scale WHEN 'features' THEN s.ln_scale_from_features ELSE 1 END
        AS activation
FROM input_activations AS i
INNER JOIN token_scales AS s
    ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
WHERE
    i.layer = $layer
    AND i.seq_id IN (SELECT j.seq_id FROM judged AS j);
