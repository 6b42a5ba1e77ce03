-- Grain: a judged position and a list of the first n_rules rules of a feature, with prediction and truth. With every
-- position of the corpus judged, only those with a prediction or an activation are rows. `n_above` and `n_at_least`
-- count the rows of the list and split that are predicted more, and at least as much.
-- Reads: evaluated, judged, predictions, truth
-- Makes: judged_rows
CREATE OR REPLACE TEMP TABLE judged_rows AS
WITH listed AS (
    SELECT
        e.feature,
        e.n_rules,
        t.split,
        t.place,
        coalesce(p.prediction, 0) AS prediction,
        t.activation,
        t.rank_from_above
    FROM evaluated AS e
    INNER JOIN truth AS t ON e.feature = t.feature
    LEFT JOIN predictions AS p
        ON e.feature = p.feature AND e.n_rules = p.n_rules AND t.place = p.place
    UNION ALL
    SELECT
        p.feature,
        p.n_rules,
        j.split,
        p.place,
        p.prediction,
        0 AS activation,
        NULL AS rank_from_above
    FROM predictions AS p
    SEMI JOIN evaluated AS e ON p.feature = e.feature AND p.n_rules = e.n_rules
    INNER JOIN judged AS j ON p.place = j.place
    ANTI JOIN truth AS t ON p.feature = t.feature AND p.place = t.place
    WHERE $example_set = 'all_positions'
)

SELECT
    listed.*,
    (rank() OVER downwards - 1)::INTEGER AS n_above,
    round(cume_dist() OVER downwards * count(*) OVER of_list)::INTEGER AS n_at_least
FROM listed
WINDOW
    of_list AS (PARTITION BY feature, n_rules, split),
    downwards AS (PARTITION BY feature, n_rules, split ORDER BY prediction DESC);
