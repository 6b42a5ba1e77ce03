-- How common counting rules are, by layer and head.
-- Group: rules
-- Needs: counting_counts
-- $scaling = "paper": one of paper, model
SELECT
    c.layer,
    c.head,
    count(DISTINCT c.feature) AS n_features_counted,
    count(DISTINCT r.feature) AS n_with_rule,
    count(DISTINCT r.feature) FILTER (WHERE t.status = 'tested') AS n_tested,
    count(DISTINCT r.feature) FILTER (WHERE t.confirmed) AS n_confirmed,
    round(n_with_rule / n_features_counted, 3) AS share_with_rule,
    round(n_confirmed / nullif(n_tested, 0), 3) AS share_confirmed
FROM (
    SELECT DISTINCT
        layer,
        head,
        feature,
        scaling,
        pair
    FROM counting_counts
) AS c
LEFT JOIN counting_rules AS r USING (layer, head, feature, scaling, pair)
LEFT JOIN counting_tests AS t USING (layer, head, feature, scaling, pair)
WHERE c.scaling = $scaling
GROUP BY c.layer, c.head
ORDER BY c.layer, c.head;
