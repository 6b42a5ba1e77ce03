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
    coalesce(t.confirmed, FALSE) AS confirmed
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
