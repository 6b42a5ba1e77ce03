-- Grain: a judged position and a list of rules, with prediction and truth. With every position of the corpus judged, only
-- those with a prediction or an activation are rows. `n_above` and `n_at_least` count the rows of the list and split that
-- are predicted more, and at least as much.
-- Reads: evaluated, judged, predictions, truth
-- Makes: judged_rows
CREATE OR REPLACE TEMP TABLE judged_rows AS
WITH predicted AS (
    SELECT
        e.list,
        j.split,
        p.place,
        p.prediction
    FROM predictions AS p
    INNER JOIN evaluated AS e ON p.way = e.way AND p.feature = e.feature AND p.n_rules = e.n_rules
    INNER JOIN judged AS j ON p.place = j.place
),

known AS (
    SELECT
        e.list,
        t.split,
        t.place,
        t.activation,
        t.rank_from_above
    FROM evaluated AS e
    INNER JOIN truth AS t ON e.feature = t.feature
),

listed AS (
    SELECT
        coalesce(p.list, k.list) AS list,
        coalesce(p.split, k.split) AS split,
        coalesce(p.place, k.place) AS place,
        coalesce(p.prediction, 0) AS prediction,
        coalesce(k.activation, 0) AS activation,
        k.rank_from_above
    FROM predicted AS p
    FULL JOIN known AS k ON p.list = k.list AND p.place = k.place
)

SELECT
    listed.*,
    (rank() OVER downwards - 1)::INTEGER AS n_above,
    (count(*) OVER downwards)::INTEGER AS n_at_least
FROM listed
WINDOW downwards AS (PARTITION BY list, split ORDER BY prediction DESC);
