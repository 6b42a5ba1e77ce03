-- Grain: a position of the text and an output feature that fires there, or of which a stated rule holds there.
-- Reads: judged, read_matches, read_rules, read_tokens, stated_rules, text_outputs, vocabulary
WITH said AS (
    SELECT
        j.pos,
        r.layer,
        r.head,
        r.feature,
        1 / (1 + exp(-(any_value(r.prior) + exact_sum(r.weight)))) AS probability,
        list(r.rank ORDER BY r.rank) AS rules,
        list(r.statement ORDER BY r.rank) AS statements
    FROM read_matches AS m
    INNER JOIN read_rules AS r ON m.rule = r.rule
    INNER JOIN judged AS j ON m.place = j.place
    GROUP BY j.pos, r.layer, r.head, r.feature
),

fired AS (
    SELECT
        o.pos,
        o.layer,
        o.head,
        o.feature,
        o.activation
    FROM text_outputs AS o
    SEMI JOIN stated_rules AS s ON o.layer = s.layer AND o.head = s.head AND o.feature = s.feature
    SEMI JOIN (
        SELECT
            unnest($layers::INTEGER[]) AS layer,
            unnest($heads::INTEGER[]) AS head,
            unnest($features::INTEGER[]) AS feature
    ) AS f ON o.layer = f.layer AND o.head = f.head AND o.feature = f.feature
    WHERE o.pos > 0
),

both_sides AS (
    SELECT
        coalesce(s.pos, o.pos) AS pos,
        coalesce(s.layer, o.layer) AS layer,
        coalesce(s.head, o.head) AS head,
        coalesce(s.feature, o.feature) AS feature,
        o.activation,
        s.probability,
        coalesce(s.rules, []) AS rules,
        coalesce(s.statements, []) AS statements
    FROM said AS s
    FULL JOIN fired AS o ON s.pos = o.pos AND s.layer = o.layer AND s.head = o.head AND s.feature = o.feature
)

SELECT
    b.pos,
    v.token,
    b.layer,
    b.head,
    b.feature,
    CASE
        WHEN NOT $with_model THEN 'rules alone'
        WHEN b.activation IS NULL THEN 'silent, though a rule says so'
        WHEN len(b.rules) = 0 THEN 'fires, no rule says so'
        ELSE 'fires, a rule says so'
    END AS status,
    b.activation,
    b.rules,
    b.statements,
    b.probability
FROM both_sides AS b
INNER JOIN read_tokens AS t ON b.pos = t.pos
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
ORDER BY b.pos ASC, b.activation DESC NULLS LAST, b.probability DESC NULLS LAST, b.layer ASC, b.head ASC, b.feature ASC;
