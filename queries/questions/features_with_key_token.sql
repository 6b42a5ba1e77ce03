-- Output features with a rule whose key fires mostly on a token.
-- Group: tokens and text
-- Needs: rules
-- $token = " the": the token, its space included
-- $n_rules = 16: first rules of each list
-- $limit = 20: number of features
SELECT
    format('{}.{}', head_label(r.layer, r.head), r.feature) AS feature,
    min(r.rank) AS rank,
    arg_min(r.method, (r.rank, r.method)) AS method,
    arg_min(r.key_description, (r.rank, r.method, r.key_feature)) AS key,
    any_value(r.says) AS says
FROM rule_texts AS r
WHERE starts_with(r.key_description, token_label($token) || ' ') AND r.rank <= $n_rules AND r.value_score > 0
GROUP BY r.layer, r.head, r.feature
ORDER BY rank ASC, r.layer ASC, r.head ASC, r.feature ASC
LIMIT $limit;
