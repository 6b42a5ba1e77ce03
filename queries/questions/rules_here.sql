-- Which rules of a feature match at a position, and what each adds to the prediction of its list.
-- Group: one position
-- Needs: rules
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $seq_id = 0: the sequence
-- $pos = 10: the position in it
-- $limit = 20: rules of each method, those that add most
SELECT
    method,
    scaling,
    rank,
    round(r.adds, 5) AS adds,
    key_pos,
    token_label(key_token) AS key_token,
    key_feature,
    words,
    through_head
FROM rules_at($layer, $head, $feature, $seq_id, $pos) AS r
QUALIFY row_number() OVER (PARTITION BY method, scaling ORDER BY abs(r.adds) DESC, r.rank ASC) <= $limit
ORDER BY method ASC, scaling ASC, abs(r.adds) DESC, rank ASC;
