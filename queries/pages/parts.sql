-- Grain: a part of an activation of a feature of a page (method.md section 8.1), of the list that its rules are taken from: of
-- the strongest where $seq_id and $pos are NULL.
-- Reads: key_lists, output_activations
WITH explained AS (
    SELECT
        feature,
        seq_id,
        pos,
        activation
    FROM output_activations
    WHERE
        layer = $layer AND head = $head AND pos > 0
        AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
        AND seq_id = coalesce($seq_id::INTEGER, seq_id) AND pos = coalesce($pos::INTEGER, pos)
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY activation DESC, seq_id ASC, pos ASC) = 1
)

SELECT
    s.feature,
    s.seq_id,
    s.pos,
    s.activation,
    l.method,
    l.scaling,
    l.n_rules,
    p.part,
    p.rank,
    p.amount,
    p.key_pos,
    p.key_token,
    p.words
FROM explained AS s
INNER JOIN key_lists AS l ON s.feature = l.feature
CROSS JOIN
    LATERAL (
        FROM activation_parts($layer, $head, s.feature, s.seq_id, s.pos, l.method, l.scaling, l.n_rules)
    ) AS p
ORDER BY s.feature ASC, p.rank ASC NULLS LAST, p.part ASC;
