-- Grain: an example drawn, case after case.
-- Reads: found_examples
SELECT
    feature,
    pair,
    kind = 'has_distractor' AS has_distractor,
    n_of_kind,
    seq_id,
    key_pos,
    query_pos,
    key_activation,
    activation
FROM found_examples
ORDER BY feature, pair, seq_id;
