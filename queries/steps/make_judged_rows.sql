-- Grain: a judged position and a list of the first n_rules rules of a feature, with prediction and truth. With every
-- position of the corpus judged, only those with a prediction or an activation are rows.
CREATE OR REPLACE TEMP TABLE judged_rows AS
SELECT
    e.feature,
    e.n_rules,
    t.split,
    t.seq_id,
    coalesce(p.prediction, 0) AS prediction,
    t.activation,
    t.rank_from_above
FROM evaluated AS e
INNER JOIN truth AS t ON e.feature = t.feature
LEFT JOIN predictions AS p
    ON e.feature = p.feature AND e.n_rules = p.n_rules AND t.seq_id = p.seq_id AND t.pos = p.pos
UNION ALL
SELECT
    p.feature,
    p.n_rules,
    h.split,
    p.seq_id,
    p.prediction,
    0 AS activation,
    NULL AS rank_from_above
FROM predictions AS p
SEMI JOIN evaluated AS e ON p.feature = e.feature AND p.n_rules = e.n_rules
INNER JOIN held_out_positions AS h ON p.seq_id = h.seq_id AND p.pos = h.pos
ANTI JOIN truth AS t ON p.feature = t.feature AND p.seq_id = t.seq_id AND p.pos = t.pos
WHERE $example_set = 'all_positions';
