-- Grain: a stated rule of an output feature: a condition on the text that is checked exactly as it is read.
CREATE TABLE stated_rules (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    statement VARCHAR NOT NULL,
    weight DOUBLE NOT NULL,
    prior DOUBLE NOT NULL,
    sample_precision DOUBLE NOT NULL,
    sample_recall DOUBLE NOT NULL,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE stated_rules IS 'Rules as conditions on the text, at most three atoms joined by AND; stated_atoms says the same in columns, rule_readings how precise each is';
COMMENT ON COLUMN stated_rules.layer IS 'Layer, 0-based';
COMMENT ON COLUMN stated_rules.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN stated_rules.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN stated_rules.rank IS 'Place within the feature, from 1';
COMMENT ON COLUMN stated_rules.statement IS 'The condition in the language of stated rules, as attnrules test reads it';
COMMENT ON COLUMN stated_rules.weight IS 'What a match adds to the log-odds that the feature is active, in a list that holds the rules before it';
COMMENT ON COLUMN stated_rules.prior IS 'Log-odds that the feature is active before any rule is looked at; the same for all rules of a feature';
COMMENT ON COLUMN stated_rules.sample_precision IS 'Share of the matches on the train positions it was learnt from at which the feature is active';
COMMENT ON COLUMN stated_rules.sample_recall IS 'Share of the active ones among these positions that it matches';
COMMENT ON COLUMN stated_rules.run_id IS 'Run that found it';
