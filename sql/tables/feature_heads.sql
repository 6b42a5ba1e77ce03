-- Grain: an output feature and a head that it reads.
CREATE TABLE feature_heads (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    through_head SMALLINT NOT NULL,
    encoder FLOAT[$d_head] NOT NULL,
    weight_share DOUBLE,
    total_contribution DOUBLE,
    mean_contribution DOUBLE,
    data_share DOUBLE
);
COMMENT ON TABLE feature_heads IS 'How an output feature reads each head: one row where its SAE reads one head, a row for every head of the layer where the SAE reads the whole layer';
COMMENT ON COLUMN feature_heads.layer IS 'Layer, 0-based';
COMMENT ON COLUMN feature_heads.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN feature_heads.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN feature_heads.through_head IS 'The head that is read; equals head where the SAE reads one head';
COMMENT ON COLUMN feature_heads.encoder IS 'w_f^h: the part of the effective encoder that reads the output z^h of this head; pre-activation = sum over heads of z^h . w_f^h + preactivation_bias of output_features';
COMMENT ON COLUMN feature_heads.weight_share IS 'Share of the head by weights: norm of the part of the decoder row that writes to z^h (on hook_attn_out: of the decoder row seen through W_O[h]), over the sum of these norms; 1 where the SAE reads one head, NULL where the decoder row is zero';
COMMENT ON COLUMN feature_heads.total_contribution IS 'Sum of z^h . w_f^h over the stored tokens at which the feature is active, BOS included, rounded to 2^-24 each; NULL where the SAE reads one head';
COMMENT ON COLUMN feature_heads.mean_contribution IS 'What the head brings to the pre-activation: mean of z^h . w_f^h over the active tokens, BOS included; over the heads these and preactivation_bias add up to mean_activation. NULL where the feature never fires, and until the ingest is finished';
COMMENT ON COLUMN feature_heads.data_share IS 'Share of the head by data: size of mean_contribution over the sum of these sizes; 1 where the SAE reads one head, NULL where the feature never fires, and until the ingest is finished';
