-- Grain: a rule, as words.
CREATE VIEW rule_texts AS
SELECT
    r.layer,
    r.head,
    r.feature,
    r.method,
    r.scaling,
    r.rank,
    r.through_head,
    r.key_feature,
    k.description AS key_description,
    r.query_feature,
    q.description AS query_description,
    r.attn_score,
    r.value_score,
    r.score,
    r.attn_distance,
    n.says,
    n.evidence
FROM rules AS r
LEFT JOIN input_features AS k ON r.layer = k.layer AND r.key_feature = k.feature
LEFT JOIN input_features AS q ON r.layer = q.layer AND r.query_feature = q.feature
LEFT JOIN rule_right_sides AS n ON r.layer = n.layer AND r.head = n.head AND r.feature = n.feature;
COMMENT ON VIEW rule_texts IS 'Rules with the descriptions of their key and query features, and the tokens that their feature makes the model say';
COMMENT ON COLUMN rule_texts.layer IS 'Layer, 0-based';
COMMENT ON COLUMN rule_texts.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN rule_texts.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN rule_texts.method IS 'How the rules were found and ranked, see the table methods';
COMMENT ON COLUMN rule_texts.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale, biases and layer norm of the model)';
COMMENT ON COLUMN rule_texts.rank IS 'Place within the feature, from 1; the keys of one group share it (weighted_groups), and the pairs of its keys and queries (weighted_gates: any key with any query)';
COMMENT ON COLUMN rule_texts.through_head IS 'The head whose attention and W_V the rule acts through; equals head where the SAE reads one head';
COMMENT ON COLUMN rule_texts.key_feature IS 'Input feature i, active at some position k <= q';
COMMENT ON COLUMN rule_texts.key_description IS 'Description of the key, as in input_features';
COMMENT ON COLUMN rule_texts.query_feature IS 'Input feature j, active at q; NULL where the rule has no query';
COMMENT ON COLUMN rule_texts.query_description IS 'Description of the query; NULL where the rule has none';
COMMENT ON COLUMN rule_texts.attn_score IS 'S(i,j), in a model with rotary positions at attn_distance; NULL where the rule has no query';
COMMENT ON COLUMN rule_texts.value_score IS 'V(f,i)';
COMMENT ON COLUMN rule_texts.score IS 'What the rule was ranked by; infinite where exp(S) exceeds a double';
COMMENT ON COLUMN rule_texts.attn_distance IS 'The distance q - k that S is of: of those at which the head attends most, the one where it is largest; NULL where S is the same at every distance, and in files of earlier versions, whose S is at distance 0';
COMMENT ON COLUMN rule_texts.says IS 'Tokens that the output feature makes the model say, as in rule_right_sides; NULL where there are none';
COMMENT ON COLUMN rule_texts.evidence IS 'How strong the evidence is that it does: rule_right_sides.evidence';
