-- Grain: an output feature and a token among those that it promotes or suppresses most, from the weights alone.
CREATE TABLE output_tokens (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    side VARCHAR NOT NULL CHECK (side IN ('promoted', 'suppressed')),
    rank INTEGER NOT NULL,
    token_id INTEGER NOT NULL,
    effect FLOAT NOT NULL
);
COMMENT ON TABLE output_tokens IS 'Tokens whose logits an output feature raises or lowers most, directly and from the weights alone (method.md section 12.1)';
COMMENT ON COLUMN output_tokens.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_tokens.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_tokens.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_tokens.side IS 'promoted: tokens of largest effect, if above 0; suppressed: of smallest, if below 0';
COMMENT ON COLUMN output_tokens.rank IS 'Place on its side, from 1; ties by token_id';
COMMENT ON COLUMN output_tokens.token_id IS 'Token id';
COMMENT ON COLUMN output_tokens.effect IS 'L(f,t): effect on the logit of the token, less the mean over all tokens, per unit of activation; logits once divided by the scale of the final norm at the position (and of the norm behind the attention, in models that have one)';
