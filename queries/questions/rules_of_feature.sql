-- Every rule of a feature that is a key, or a key and a query, with both sides described; rules_as_read has the stated ones.
-- Group: one feature
-- Needs: rules
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
SELECT *
FROM rules_of($layer, $head, $feature)
ORDER BY method, scaling, rank, key_feature, query_feature, through_head;
