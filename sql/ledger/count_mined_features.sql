-- Grain: the warehouse. Features of which something was mined: rules, absence or counting rules.
-- Reads: counting_rules, distractors, rules, stated_rules
SELECT count(*) AS n_features
FROM (
    SELECT
        layer,
        head,
        feature
    FROM rules
    UNION
    SELECT
        layer,
        head,
        feature
    FROM stated_rules
    UNION
    SELECT
        layer,
        head,
        feature
    FROM distractors
    UNION
    SELECT
        layer,
        head,
        feature
    FROM counting_rules
) AS mined;
