-- Grain: a way to predict an output feature.
CREATE TABLE methods (
    method VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    meaning VARCHAR NOT NULL
);
COMMENT ON TABLE methods IS 'Ways to find and rank rules, and what they are compared with';
COMMENT ON COLUMN methods.method IS 'Name in the column method of other tables';
COMMENT ON COLUMN methods.kind IS 'rules, baseline or ceiling';
COMMENT ON COLUMN methods.meaning IS 'What it predicts from';
INSERT INTO methods VALUES
('magnitude', 'rules', 'pairs by exp(S) V: weights alone, the paper''s'),
('importance', 'rules', 'pairs by the gradient of a linearised head on train examples, the paper''s'),
('unigram', 'rules', 'keys by V, no query, the paper''s'),
('mined', 'rules', 'pairs by what the corpus shows: how often the feature is active where they match'),
('weighted', 'rules', 'keys by V times how much more attention carries when the feature is active'),
('weighted_signed', 'rules', 'the same by size, suppressors kept'),
('weighted_groups', 'rules', 'the same for groups of up to eight keys whose value vectors point the same way'),
('weighted_gates', 'rules', 'these groups, with up to eight queries where those say when a group counts'),
('weighted_pairs', 'rules', 'the same for (key, query) pairs'),
('always_active', 'baseline', 'predicts active everywhere'),
('current_token', 'baseline', 'mean train activation on the token alone'),
('last_two_tokens', 'baseline', 'mean train activation on the last two tokens'),
('key_anywhere', 'baseline', 'keys of the magnitude rules, present anywhere before, no query'),
('random', 'baseline', 'magnitude rules with both features swapped for others that fire about as often'),
('ceiling_from_features', 'ceiling', 'all input features, attention computed from them'),
('ceiling_model_attention', 'ceiling', 'all input features, the model''s own attention');
