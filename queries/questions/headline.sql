-- The answers in one table, all positions first: how well rules predict, by layer and number of rules, who wins.
-- Group: the warehouse
-- Needs: rule_evaluations
-- $f1 = 0.8: an F1 (at the threshold chosen on train) from which a feature counts as predicted well
WITH judged AS (
    FROM rule_metrics
    WHERE split = 'test'
),

everywhere AS (
    SELECT
        1 AS place,
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

chosen AS (
    SELECT
        layer,
        count(*) AS n_features,
        median(average_precision) AS average_precision,
        median(n_rules_used) AS n_rules
    FROM best_lists
    WHERE example_set = 'all_positions'
    GROUP BY layer
),

shortest AS (
    SELECT
        c.layer,
        c.n_features,
        NULL AS method,
        NULL AS n_rules,
        unnest([2, 3]) AS place,
        unnest([
            'average precision over all positions of the median feature''s shortest good list (view best_lists)',
            'rules in that list'
        ]) AS question,
        unnest([c.average_precision, c.n_rules]) AS answer
    FROM chosen AS c
),

sets AS (
    SELECT
        unnest(['all_positions', 'paper']) AS example_set,
        unnest([4, 7]) AS place,
        unnest(['on all positions', 'on the strongest examples, half of them active (set paper)']) AS words
),

shares AS (
    SELECT
        s.place,
        'share of features with F1 >= ' || $f1 || ' ' || s.words AS question,
        j.layer,
        j.method,
        j.n_rules,
        count(*) AS n_features,
        avg((j.f1_at_threshold >= $f1)::DOUBLE) AS answer
    FROM judged AS j
    INNER JOIN sets AS s ON j.example_set = s.example_set
    WHERE j.n_rules IN (0, 4, 16, 64, 256, 1024)
    GROUP BY s.place, s.words, j.layer, j.method, j.n_rules
),

needed AS (
    SELECT
        layer,
        head,
        feature,
        method,
        example_set,
        min(n_rules_used) FILTER (WHERE f1_at_threshold >= $f1) AS n_needed
    FROM judged
    WHERE kind = 'rules'
    GROUP BY layer, head, feature, method, example_set
),

medians AS (
    SELECT
        s.place + 1 AS place,
        'rules that the median feature needs for that ' || s.words || ' (none: more than were mined)' AS question,
        n.layer,
        n.method,
        NULL AS n_rules,
        count(*) AS n_features,
        nullif(median(coalesce(n.n_needed, 'infinity'::DOUBLE)), 'infinity'::DOUBLE) AS answer
    FROM needed AS n
    INNER JOIN sets AS s ON n.example_set = s.example_set
    GROUP BY s.place, s.words, n.layer, n.method
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
        6 AS place,
        'share of features whose best average precision with 16 rules is this method''s, on ' || example_set AS question,
        layer,
        method,
        16 AS n_rules,
        sum(count(*)) OVER (PARTITION BY layer, example_set) AS n_features,
        count(*) / sum(count(*)) OVER (PARTITION BY layer, example_set) AS answer
    FROM best
    GROUP BY layer, example_set, method
),

unexplained AS (
    SELECT
        9 AS place,
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
    FROM everywhere
    UNION ALL BY NAME
    FROM shortest
    UNION ALL BY NAME
    FROM shares
    UNION ALL BY NAME
    FROM medians
    UNION ALL BY NAME
    FROM winners
    UNION ALL BY NAME
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
