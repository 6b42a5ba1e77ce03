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
    avg(t.chance_confirmed) OVER like_cases AS chance_share,
    sum(t.confirmed::INTEGER) FILTER (WHERE t.status = 'tested') OVER like_cases
    / count(*) FILTER (WHERE t.status = 'tested') OVER like_cases AS confirmed_share,
    d.through_head,
    len(t.distractor_token_ids) AS n_distractor_tokens,
    t.p_value,
    t.q_value
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
COMMENT ON COLUMN absence_summary.layer IS 'Layer, 0-based';
COMMENT ON COLUMN absence_summary.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN absence_summary.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN absence_summary.scaling IS 'Scale of the scores: paper (S as it stands) or model (the scale and biases of the model)';
COMMENT ON COLUMN absence_summary.pair IS 'Place of the pair within the feature, from 1: first the pair of the paper, then the others by exp(S) V';
COMMENT ON COLUMN absence_summary.key_feature IS 'Input feature i that pushes the output feature up; of pair 1 the one of largest V(f,i)';
COMMENT ON COLUMN absence_summary.key_description IS 'Description of the key, as in input_features';
COMMENT ON COLUMN absence_summary.distractor_feature IS 'Input feature i2: the first key in the order of S(.,j) with V(f,i2) < 0; NULL where there is none';
COMMENT ON COLUMN absence_summary.distractor_description IS 'Description of the distractor';
COMMENT ON COLUMN absence_summary.query_feature IS 'Input feature j; of pair 1 the one of largest S(i,j)';
COMMENT ON COLUMN absence_summary.query_description IS 'Description of the query';
COMMENT ON COLUMN absence_summary.key_rank IS 'How many candidate keys a query token with j attends to more than to i (ties: by feature), 0-based rank';
COMMENT ON COLUMN absence_summary.distractor_rank IS 'Its place in the order of S(.,j), from 0';
COMMENT ON COLUMN absence_summary.value_score IS 'V(f,i)';
COMMENT ON COLUMN absence_summary.distractor_value_score IS 'V(f,i2), < 0';
COMMENT ON COLUMN absence_summary.kq_count IS 'Sequences in which i, then j occur and the distractor does not stand at or before j; NULL without a distractor';
COMMENT ON COLUMN absence_summary.kkq_count IS 'The same with the distractor at or before j';
COMMENT ON COLUMN absence_summary.kq_active_share IS 'Share of the stored examples without distractor at which the output feature is active';
COMMENT ON COLUMN absence_summary.kkq_active_share IS 'The same with the distractor';
COMMENT ON COLUMN absence_summary.kq_mean_activation IS 'Mean activation of the output feature over the stored examples without distractor';
COMMENT ON COLUMN absence_summary.kkq_mean_activation IS 'The same with the distractor';
COMMENT ON COLUMN absence_summary.matched_difference IS 'Mean activation with the distractor minus without, matched for the activation of the key and the distance from key to query; < 0 where the distractor suppresses';
COMMENT ON COLUMN absence_summary.matched_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN absence_summary.matched_high IS 'Upper end';
COMMENT ON COLUMN absence_summary.corpus_evidence IS 'What matched_difference says: too few (under 10 matched examples of a kind), raises (matched_low > 0), silent (the feature is hardly active without the distractor), suppresses (matched_high < 0), or chance explains';
COMMENT ON COLUMN absence_summary.status IS 'tested, or why not: no active example, no distractor token, no neutral token; not tested where attnrules intervene was not run';
COMMENT ON COLUMN absence_summary.distractor_token IS 'Text of the first token that was inserted for the distractor; NULL where it was not tested';
COMMENT ON COLUMN absence_summary.n_examples IS 'Sequences in which tokens were inserted';
COMMENT ON COLUMN absence_summary.distractor_activations IS 'Mean activation of the output feature with 0, 1, 2, ... copies of the distractor token inserted';
COMMENT ON COLUMN absence_summary.control_activations IS 'The same with neutral tokens';
COMMENT ON COLUMN absence_summary.fall IS 'Mean fall of the activation when distractors are inserted, over the numbers of copies';
COMMENT ON COLUMN absence_summary.control_fall IS 'The same fall when neutral tokens are inserted';
COMMENT ON COLUMN absence_summary.excess_fall IS 'fall minus control_fall, in the same sequences';
COMMENT ON COLUMN absence_summary.excess_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN absence_summary.excess_high IS 'Upper end';
COMMENT ON COLUMN absence_summary.excess_share IS 'excess_fall as a share of the activation in the sequences as they are';
COMMENT ON COLUMN absence_summary.key_attention IS 'Mean attention to the key in the sequences as they are';
COMMENT ON COLUMN absence_summary.key_attention_distractor IS 'Mean attention to the key with distractors inserted, over the numbers of copies';
COMMENT ON COLUMN absence_summary.key_attention_control IS 'The same with neutral tokens';
COMMENT ON COLUMN absence_summary.n_replaced IS 'Sequences with a real distractor in which it was replaced';
COMMENT ON COLUMN absence_summary.excess_rise IS 'rise minus control_rise, in the same sequences';
COMMENT ON COLUMN absence_summary.excess_rise_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN absence_summary.excess_rise_high IS 'Upper end';
COMMENT ON COLUMN absence_summary.confirmed IS 'Whether fall_low and excess_low exceed 1% of the activation, and q_value is at most 0.2; false where it was not tested';
COMMENT ON COLUMN absence_summary.chance_confirmed IS 'How likely its q_value is to be at most 0.2 if it does not matter which of its tokens are the distractor''s: what chance confirms; NULL where not known';
COMMENT ON COLUMN absence_summary.chance_share IS 'Mean chance_confirmed of like cases: what chance confirms there';
COMMENT ON COLUMN absence_summary.confirmed_share IS 'Share of the tested like cases that are confirmed, to be compared with chance_share';
COMMENT ON COLUMN absence_summary.through_head IS 'The head whose attention and W_V key, query and distractor act through; equals head where the SAE reads one head';
COMMENT ON COLUMN absence_summary.n_distractor_tokens IS 'Tokens that were inserted for the distractor, each in all sequences; NULL in files of before, which inserted one';
COMMENT ON COLUMN absence_summary.p_value IS 'Share of the ways to choose as many of the distractor and neutral tokens that lower the activation at least as much';
COMMENT ON COLUMN absence_summary.q_value IS 'Least false discovery rate at which it is found among the tests of its head and run';
