-- Grain: a pair of an output feature whose distractor outranks its key, with what corpus and interventions say. Like cases
-- are tested pairs of the same layer and scaling whose numbers of examples lie between the same two of 5, 10, 20, 40, ...
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
    CASE
        WHEN least(coalesce(d.matched_kq, 0), coalesce(d.matched_kkq, 0)) < 10 THEN 'too few'
        WHEN d.matched_low > 0 THEN 'raises'
        WHEN d.kq_mean_activation <= 0.01 * f.mean_activation THEN 'silent'
        WHEN d.matched_high < 0 THEN 'suppresses'
        ELSE 'chance explains'
    END AS corpus_evidence,
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
    coalesce(t.confirmed, FALSE) AS confirmed,
    t.chance_confirmed,
    sum(round(t.chance_confirmed * len(t.control_token_ids))::BIGINT) OVER like_cases
    / sum(len(t.control_token_ids)) FILTER (WHERE t.chance_confirmed IS NOT NULL) OVER like_cases AS chance_share,
    sum(t.confirmed::INTEGER) FILTER (WHERE t.status = 'tested') OVER like_cases
    / count(*) FILTER (WHERE t.status = 'tested') OVER like_cases AS confirmed_share
FROM distractors AS d
LEFT JOIN absence_tests AS t
    ON
        d.layer = t.layer
        AND d.head = t.head
        AND d.feature = t.feature
        AND d.scaling = t.scaling
        AND d.pair = t.pair
LEFT JOIN vocabulary AS v ON t.distractor_token_id = v.token_id
LEFT JOIN output_features AS f ON d.layer = f.layer AND d.head = f.head AND d.feature = f.feature
LEFT JOIN input_features AS k ON d.layer = k.layer AND d.key_feature = k.feature
LEFT JOIN input_features AS b ON d.layer = b.layer AND d.distractor_feature = b.feature
LEFT JOIN input_features AS q ON d.layer = q.layer AND d.query_feature = q.feature
WHERE d.has_distractor_key
WINDOW like_cases AS (
    PARTITION BY
        d.layer, d.scaling,
        CASE WHEN t.n_examples >= 5 THEN floor(log2(t.n_examples / 5)) ELSE -1 END
);
COMMENT ON VIEW absence_summary IS 'Absence rules [key] ... [distractor] ... [query] -/-> feature with the outcome of their tests; excess_share is the fall beyond that of neutral tokens, as a share of the activation';
