-- Why a position attends to another: the parts of the attention logit, by key and query feature.
-- Group: one position
-- $layer = 0: layer of the head
-- $head = 0: a head of the model
-- $seq_id = 0: the sequence
-- $query_pos = 10: the position that attends
-- $key_pos = 9: the position attended to
-- $limit = 20: number of parts, the largest in size
-- The parts add up to logit, before a bound on the logits; its softmax is the attention computed from the features.
SELECT
    key_feature,
    coalesce(key_description, 'biases') AS key,
    query_feature,
    coalesce(query_description, 'biases') AS query,
    round(t.logit, 4) AS part,
    round(exact_sum(t.logit) OVER (), 4) AS logit,
    count(*) OVER () AS n_parts
FROM attention_terms($layer, $head, $seq_id, $query_pos, $key_pos) AS t
ORDER BY abs(t.logit) DESC, key_feature ASC NULLS LAST, query_feature ASC NULLS LAST
LIMIT $limit;
