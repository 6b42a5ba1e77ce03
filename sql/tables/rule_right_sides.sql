-- Grain: an output feature, as a rule writes its right side.
CREATE TABLE rule_right_sides (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    says VARCHAR,
    evidence VARCHAR NOT NULL
);
COMMENT ON TABLE rule_right_sides IS 'What every output feature makes the model say, in the three tokens that rules end in: the first of the view output_words, computed from it whenever that changes';
COMMENT ON COLUMN rule_right_sides.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_right_sides.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN rule_right_sides.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN rule_right_sides.says IS 'The first three tokens of output_words, in quotes, NULL where there are none';
COMMENT ON COLUMN rule_right_sides.evidence IS 'output_words.evidence; says nothing: no evidence of any kind names a token; not known: the effects on the logits are not stored (attnrules ingest adds them); or why they cannot be: unembedding.status';
