-- Grain: a judged position and a list that says something of it.
-- Reads: evaluated, predictions
SELECT
    e.list,
    p.place,
    p.prediction
FROM predictions AS p
INNER JOIN evaluated AS e ON p.way = e.way AND p.feature = e.feature AND p.n_rules = e.n_rules;
