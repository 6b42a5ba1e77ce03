-- Grain: an active row of `judged_rows`, with how many positions of its list and split, and how many active ones, are
-- predicted at least as much.
-- Reads: judged_lists, judged_rows
-- Makes: active_rows
CREATE OR REPLACE TEMP TABLE active_rows AS
SELECT
    r.feature,
    r.n_rules,
    r.split,
    r.prediction,
    r.rank_from_above,
    r.n_above + CASE WHEN r.prediction < 0 THEN l.n_unlisted ELSE 0 END AS n_above,
    r.n_at_least + CASE WHEN r.prediction <= 0 THEN l.n_unlisted ELSE 0 END AS n_at_least,
    round(
        l.n_active
        * cume_dist() OVER (PARTITION BY r.feature, r.n_rules, r.split ORDER BY r.prediction DESC)
    ) AS n_active_at_least,
    l.n_active,
    l.n_examples
FROM judged_rows AS r
INNER JOIN judged_lists AS l ON r.feature = l.feature AND r.n_rules = l.n_rules AND r.split = l.split
WHERE r.activation > 0;
