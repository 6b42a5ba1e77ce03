-- Features like one: those of the same layer, of any head, whose first rules share most keys with its own.
-- Group: one feature
-- Needs: rules
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $method = "weighted": how the rules were found
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of features
SELECT
    format('{}.{}', head_label($layer, s.other_head), s.other_feature) AS other_feature,
    s.n_shared,
    round(s.share_of_keys, 3) AS share_of_keys,
    i.description AS one_key,
    o.description AS active_at
FROM shared_keys($layer, $method, $n_rules) AS s
LEFT JOIN input_features AS i ON i.layer = $layer AND s.example_key = i.feature
LEFT JOIN output_features AS o ON o.layer = $layer AND s.other_head = o.head AND s.other_feature = o.feature
WHERE s.head = $head AND s.feature = $feature
ORDER BY s.share_of_keys DESC, s.n_shared DESC, s.other_head ASC, s.other_feature ASC
LIMIT $limit;
