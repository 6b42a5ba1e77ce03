-- Grain: an example and a number of rules, where at least one of the first n_rules rules matches.
CREATE TABLE rule_scores (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    example_set VARCHAR NOT NULL,
    seq_id INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    n_rules INTEGER NOT NULL,
    prediction DOUBLE NOT NULL
);
COMMENT ON TABLE rule_scores IS 'Stored values behind the view rule_predictions; no row where nothing matches';
COMMENT ON COLUMN rule_scores.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_scores.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_scores.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rule_scores.method IS 'How the rules were found and ranked, or which baseline or ceiling it is: see the table methods';
COMMENT ON COLUMN rule_scores.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_scores.example_set IS 'Which set of examples: paper (the strongest 3m sequences against 3m inactive ones), uniform, bins or all_positions';
COMMENT ON COLUMN rule_scores.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN rule_scores.pos IS 'Token position in the sequence, 0-based; position 0 is BOS';
COMMENT ON COLUMN rule_scores.n_rules IS 'Length of the list asked for';
COMMENT ON COLUMN rule_scores.prediction IS 'What the first n_rules rules predict';
