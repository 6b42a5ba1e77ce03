-- Keys that hold features down: rules whose key lowers the feature it is attended for, by V.
-- Group: rules
-- Needs: rules
-- $method = "weighted_signed": how the rules were found; the others keep few suppressors
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of rules
SELECT
    format('{}.{}', head_label(layer, head), feature) AS feature,
    rank,
    key_description AS key,
    query_description AS query,
    round(value_score, 3) AS value_score,
    round(score, 5) AS score,
    says,
    through_head
FROM rule_texts
WHERE value_score < 0 AND method = $method AND rank <= $n_rules
ORDER BY value_score ASC, layer ASC, head ASC, rule_texts.feature ASC, rank ASC
LIMIT $limit;
