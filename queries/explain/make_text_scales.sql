-- Grain: a token of a text of the user's own, with the scales that the layer norm divides by.
-- Makes: text_scales
CREATE OR REPLACE TEMP TABLE text_scales (
    layer SMALLINT,
    seq_id INTEGER,
    pos INTEGER,
    ln_scale FLOAT,
    ln_scale_from_features FLOAT,
    reconstruction_error FLOAT
);
