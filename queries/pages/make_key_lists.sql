-- Grain: a feature of a page, and of its lists of at most 64 rules whose rules have keys the one with the largest average
-- precision on the split that lists are chosen on, all positions before other sets; any where none was judged.
-- Reads: rule_metric_values, rules
-- Makes: key_lists
CREATE OR REPLACE TEMP TABLE key_lists AS
WITH stored AS (
    SELECT DISTINCT
        feature,
        method,
        scaling
    FROM rules
    WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
),

chosen_on AS (
    SELECT *
    FROM rule_metric_values
    WHERE
        layer = $layer AND head = $head AND n_rules <= 64
        AND split = CASE example_set WHEN 'all_positions' THEN 'train' ELSE 'val' END
)

SELECT
    s.feature,
    s.method,
    s.scaling,
    coalesce(m.n_rules, 64) AS n_rules
FROM stored AS s
LEFT JOIN chosen_on AS m ON s.feature = m.feature AND s.method = m.method AND s.scaling = m.scaling
QUALIFY
    row_number() OVER (
        PARTITION BY s.feature
        ORDER BY
            m.example_set = 'all_positions' DESC NULLS LAST,
            m.average_precision DESC NULLS LAST,
            m.n_rules_used ASC,
            m.example_set ASC,
            s.method ASC,
            s.scaling ASC,
            m.n_rules ASC
    ) = 1;
