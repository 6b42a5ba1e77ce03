-- Grain: a counting rule, with the outcome of its test.
CREATE VIEW counting_summary AS
SELECT
    r.layer,
    r.head,
    r.feature,
    r.scaling,
    r.pair,
    r.key_feature,
    k.description AS key_description,
    r.opponent_feature,
    o.description AS opponent_description,
    r.query_feature,
    q.description AS query_description,
    r.key_weight,
    r.opponent_weight,
    r.threshold,
    r.n_positions,
    r.n_active,
    r.precision,
    r.recall,
    r.f1,
    r.information,
    r.presence,
    r.presence_f1,
    r.presence_information,
    r.skipgram_f1,
    r.skipgram_information,
    r.information_gain,
    r.gain_low,
    r.gain_high,
    r.position_side,
    r.position_threshold,
    r.position_f1,
    r.position_information,
    r.position_gain,
    r.position_gain_low,
    r.position_gain_high,
    coalesce(t.status, 'not tested') AS status,
    t.n_examples,
    t.agreement,
    t.presence_agreement,
    t.information_gain AS grid_information_gain,
    t.gain_low AS grid_gain_low,
    t.gain_high AS grid_gain_high,
    t.excess_active,
    t.excess_low,
    t.excess_high,
    coalesce(t.confirmed, FALSE) AS confirmed,
    r.through_head
FROM counting_rules AS r
LEFT JOIN counting_tests AS t
    ON
        r.layer = t.layer
        AND r.head = t.head
        AND r.feature = t.feature
        AND r.scaling = t.scaling
        AND r.pair = t.pair
LEFT JOIN input_features AS k ON r.layer = k.layer AND r.key_feature = k.feature
LEFT JOIN input_features AS o ON r.layer = o.layer AND r.opponent_feature = o.feature
LEFT JOIN input_features AS q ON r.layer = q.layer AND r.query_feature = q.feature;
COMMENT ON VIEW counting_summary IS 'Counting rules in words and figures, with the outcome of the grid of insertions';
COMMENT ON COLUMN counting_summary.layer IS 'Layer, 0-based';
COMMENT ON COLUMN counting_summary.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN counting_summary.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN counting_summary.scaling IS 'Scaling of the scores that chose the pair: paper or model';
COMMENT ON COLUMN counting_summary.pair IS 'Place of the pair within the feature, from 1, as in distractors';
COMMENT ON COLUMN counting_summary.key_feature IS 'Input feature i, counted as c';
COMMENT ON COLUMN counting_summary.key_description IS 'Description of the key, as in input_features';
COMMENT ON COLUMN counting_summary.opponent_feature IS 'Input feature i2, counted as c2; NULL where the rule counts keys only';
COMMENT ON COLUMN counting_summary.opponent_description IS 'Description of the opponent; NULL without one';
COMMENT ON COLUMN counting_summary.query_feature IS 'Input feature j, active at the position';
COMMENT ON COLUMN counting_summary.query_description IS 'Description of the query';
COMMENT ON COLUMN counting_summary.key_weight IS 'Weight of c';
COMMENT ON COLUMN counting_summary.opponent_weight IS 'Weight of c2, 0 without an opponent';
COMMENT ON COLUMN counting_summary.threshold IS 'What the weighted difference must reach';
COMMENT ON COLUMN counting_summary.n_positions IS 'Test positions at which the query is active';
COMMENT ON COLUMN counting_summary.n_active IS 'Those at which the output feature is active';
COMMENT ON COLUMN counting_summary.precision IS 'Precision of the rule on test; 1 where nothing is predicted';
COMMENT ON COLUMN counting_summary.recall IS 'Its recall; 1 where nothing is active';
COMMENT ON COLUMN counting_summary.f1 IS 'Its F1';
COMMENT ON COLUMN counting_summary.information IS 'Mutual information between its prediction and the activity of the feature, bits a position; 0 where it predicts the contrary';
COMMENT ON COLUMN counting_summary.presence IS 'The presence rule it is compared with, the better one on train: key (the plain skip-gram) or key without opponent';
COMMENT ON COLUMN counting_summary.presence_f1 IS 'Its F1';
COMMENT ON COLUMN counting_summary.presence_information IS 'Mutual information between its prediction and the activity of the feature, bits a position; 0 where it predicts the contrary';
COMMENT ON COLUMN counting_summary.skipgram_f1 IS 'F1 of the plain skip-gram on test';
COMMENT ON COLUMN counting_summary.skipgram_information IS 'Information of the plain skip-gram on test, bits a position';
COMMENT ON COLUMN counting_summary.information_gain IS 'information minus presence_information';
COMMENT ON COLUMN counting_summary.gain_low IS 'Lower end of its 95% bootstrap interval over sequences, > 0';
COMMENT ON COLUMN counting_summary.gain_high IS 'Upper end';
COMMENT ON COLUMN counting_summary.position_side IS 'Side of the position rule that tells most on train: from (active from position_threshold on) or up to; NULL, as in the columns below, where a version before 3 mined the rule and the position is not known to have been compared';
COMMENT ON COLUMN counting_summary.position_threshold IS 'Position in the sequence, 0-based, at which the position rule turns';
COMMENT ON COLUMN counting_summary.position_f1 IS 'Its F1';
COMMENT ON COLUMN counting_summary.position_information IS 'Mutual information between its prediction and the activity of the feature, bits a position; 0 where it predicts the contrary';
COMMENT ON COLUMN counting_summary.position_gain IS 'information minus position_information';
COMMENT ON COLUMN counting_summary.position_gain_low IS 'Lower end of its 95% bootstrap interval over sequences, > 0';
COMMENT ON COLUMN counting_summary.position_gain_high IS 'Upper end';
COMMENT ON COLUMN counting_summary.status IS 'tested, or why not: no example, no key token, no opponent token, no neutral token, beyond the grid (the rule predicts the feature in none of its cells)';
COMMENT ON COLUMN counting_summary.n_examples IS 'Sequences in which tokens were inserted';
COMMENT ON COLUMN counting_summary.agreement IS 'Share of the cells of the grid in which the counting rule says rightly whether the feature is active';
COMMENT ON COLUMN counting_summary.presence_agreement IS 'The same for the presence rule';
COMMENT ON COLUMN counting_summary.grid_information_gain IS 'How much more the counting rule tells of the grid than the presence rule, bits a cell';
COMMENT ON COLUMN counting_summary.grid_gain_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN counting_summary.grid_gain_high IS 'Upper end';
COMMENT ON COLUMN counting_summary.excess_active IS 'Share of cells with the feature active where the rule predicts it, less the same share with as many neutral tokens inserted';
COMMENT ON COLUMN counting_summary.excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN counting_summary.excess_high IS 'Upper end';
COMMENT ON COLUMN counting_summary.confirmed IS 'Whether counting tells more of the grid than presence and more than neutral tokens do: gain_low and excess_low above 0';
COMMENT ON COLUMN counting_summary.through_head IS 'The head whose attention and W_V key and opponent act through; equals head where the SAE reads one head';
