-- The answers in one table: share of features predicted well, by layer and number of rules, who wins, what is left.
-- $f1 = 0.8: an F1 (at the threshold chosen on train) from which a feature counts as predicted well
WITH judged AS (
    FROM rule_metrics
    WHERE split = 'test'
),

shares AS (
    SELECT
        1 AS place,
        'share of features with F1 >= ' || $f1 || ' on the strongest examples' AS question,
        layer,
        method,
        n_rules,
        count(*) AS n_features,
        avg((f1_at_threshold >= $f1)::DOUBLE) AS answer
    FROM judged
    WHERE example_set = 'paper' AND n_rules IN (0, 4, 16, 64, 256, 1024)
    GROUP BY layer, method, n_rules
),

needed AS (
    SELECT
        layer,
        head,
        feature,
        method,
        min(n_rules_used) FILTER (WHERE f1_at_threshold >= $f1) AS n_needed
    FROM judged
    WHERE example_set = 'paper' AND kind = 'rules'
    GROUP BY layer, head, feature, method
),

medians AS (
    SELECT
        2 AS place,
        'rules that the median feature needs for that (none: more than were mined)' AS question,
        layer,
        method,
        NULL AS n_rules,
        count(*) AS n_features,
        nullif(median(coalesce(n_needed, 'infinity'::DOUBLE)), 'infinity'::DOUBLE) AS answer
    FROM needed
    GROUP BY layer, method
),

best AS (
    SELECT
        layer,
        example_set,
        method
    FROM judged
    WHERE kind = 'rules' AND n_rules = 16 AND average_precision IS NOT NULL
    QUALIFY
        row_number() OVER (
            PARTITION BY layer, head, feature, example_set ORDER BY average_precision DESC, method ASC
        ) = 1
),

winners AS (
    SELECT
        3 AS place,
        'share of features whose best average precision with 16 rules is this method''s, on ' || example_set AS question,
        layer,
        method,
        16 AS n_rules,
        sum(count(*)) OVER (PARTITION BY layer, example_set) AS n_features,
        count(*) / sum(count(*)) OVER (PARTITION BY layer, example_set) AS answer
    FROM best
    GROUP BY layer, example_set, method
),

everywhere AS (
    SELECT
        4 AS place,
        'mean average precision over all positions' AS question,
        layer,
        method,
        n_rules,
        count(*) AS n_features,
        exact_sum(average_precision) / count(average_precision) AS answer
    FROM judged
    WHERE example_set = 'all_positions'
    GROUP BY layer, method, n_rules
),

unexplained AS (
    SELECT
        5 AS place,
        'share of the residual stream that the SAE leaves unexplained (mean over tokens)' AS question,
        layer,
        NULL AS method,
        NULL AS n_rules,
        count(*) AS n_features,
        exact_sum(reconstruction_error::DOUBLE) / count(*) AS answer
    FROM token_scales
    WHERE pos > 0
    GROUP BY layer
),

answers AS (
    FROM shares
    UNION ALL
    FROM medians
    UNION ALL
    FROM winners
    UNION ALL
    FROM everywhere
    UNION ALL
    FROM unexplained
)

SELECT
    question,
    layer,
    method,
    n_rules,
    n_features,
    round(answer, 3) AS answer
FROM answers
ORDER BY place, question, layer, method, n_rules;
