-- Grain: an active row of `judged_rows`, with how many positions of its list and split, and how many active ones, are
-- predicted at least as much.
-- Reads: judged_lists, judged_rows
-- Makes: active_rows
CREATE OR REPLACE TEMP TABLE active_rows AS
SELECT
    r.list,
    r.split,
    r.prediction,
    r.rank_from_above,
    r.n_above + CASE WHEN r.prediction < 0 THEN l.n_unlisted ELSE 0 END AS n_above,
    r.n_at_least + CASE WHEN r.prediction <= 0 THEN l.n_unlisted ELSE 0 END AS n_at_least,
    count(*) OVER (PARTITION BY r.list, r.split ORDER BY r.prediction DESC) AS n_active_at_least,
    l.n_active,
    l.n_examples
FROM judged_rows AS r
INNER JOIN judged_lists AS l ON r.list = l.list AND r.split = l.split
WHERE r.activation > 0;
