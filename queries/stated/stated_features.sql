-- Grain: an output feature with stated rules, with the number of those among the first n_rules.
-- Reads: stated_rules
SELECT
    layer,
    head,
    feature,
    count(*) AS n_rules
FROM stated_rules
WHERE rank <= $n_rules
GROUP BY layer, head, feature
ORDER BY layer, head, feature;
