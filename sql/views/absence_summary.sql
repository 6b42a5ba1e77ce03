-- Grain: a pair of an output feature whose distractor outranks its key, with what corpus and interventions say.
CREATE VIEW absence_summary AS
SELECT
    d.layer,
    d.head,
    d.feature,
    d.scaling,
    d.pair,
    d.key_feature,
    k.description AS key_description,
    d.distractor_feature,
    b.description AS distractor_description,
    d.query_feature,
    q.description AS query_description,
    d.key_rank,
    d.distractor_rank,
    d.value_score,
    d.distractor_value_score,
    d.kq_count,
    d.kkq_count,
    d.kq_active_share,
    d.kkq_active_share,
    d.kq_mean_activation,
    d.kkq_mean_activation,
    d.matched_difference,
    d.matched_low,
    d.matched_high,
    coalesce(t.status, 'not tested') AS status,
    v.token AS distractor_token,
    t.n_examples,
    t.distractor_activations,
    t.control_activations,
    t.fall,
    t.control_fall,
    t.excess_fall,
    t.excess_low,
    t.excess_high,
    t.excess_fall / nullif(t.distractor_activations[1], 0) AS excess_share,
    t.key_attention,
    t.key_attention_distractor,
    t.key_attention_control,
    t.n_replaced,
    t.excess_rise,
    t.excess_rise_low,
    t.excess_rise_high,
    coalesce(t.confirmed, FALSE) AS confirmed
FROM distractors AS d
LEFT JOIN absence_tests AS t
    ON
        d.layer = t.layer
        AND d.head = t.head
        AND d.feature = t.feature
        AND d.scaling = t.scaling
        AND d.pair = t.pair
LEFT JOIN vocabulary AS v ON t.distractor_token_id = v.token_id
LEFT JOIN input_features AS k ON d.layer = k.layer AND d.key_feature = k.feature
LEFT JOIN input_features AS b ON d.layer = b.layer AND d.distractor_feature = b.feature
LEFT JOIN input_features AS q ON d.layer = q.layer AND d.query_feature = q.feature
WHERE d.has_distractor_key;
COMMENT ON VIEW absence_summary IS 'Absence rules [key] ... [distractor] ... [query] -/-> feature with the outcome of their tests; excess_share is the fall beyond that of neutral tokens, as a share of the activation';
