-- Grain: a feature of a page, an outcome of its best list (hit, miss or false alarm), and one of the three positions of it that
-- the question where_rules_fail shows first, with how many there are.
-- Reads: judged, judged_lists, output_activations, predictions
WITH outcomes AS (
    SELECT
        l.feature,
        l.method,
        l.n_rules,
        j.seq_id,
        j.pos,
        y.activation,
        coalesce(p.prediction, 0) AS prediction,
        CASE
            WHEN y.activation IS NULL THEN 'false alarm'
            WHEN coalesce(p.prediction, 0) > l.threshold THEN 'hit'
            ELSE 'miss'
        END AS outcome
    FROM judged_lists AS l
    INNER JOIN judged AS j ON l.scope = j.scope
    LEFT JOIN predictions AS p ON l.feature = p.feature AND j.place = p.place
    LEFT JOIN output_activations AS y
        ON
            y.layer = $layer AND y.head = $head AND l.feature = y.feature
            AND j.seq_id = y.seq_id AND j.pos = y.pos
    WHERE y.activation IS NOT NULL OR coalesce(p.prediction, 0) > l.threshold
),

counted AS (
    SELECT
        *,
        count(*) OVER (PARTITION BY feature, outcome) AS n,
        row_number() OVER (
            PARTITION BY feature, outcome
            ORDER BY coalesce(activation, prediction) DESC, seq_id ASC, pos ASC
        ) AS place
    FROM outcomes
)

SELECT
    o.feature,
    o.outcome,
    o.n,
    o.place,
    o.activation,
    o.prediction,
    o.seq_id,
    o.pos,
    c.before,
    c.token,
    c.after
FROM counted AS o
CROSS JOIN LATERAL (FROM context_at(o.seq_id, o.pos)) AS c
WHERE o.place <= 3
ORDER BY o.feature, o.outcome, o.place;
