-- Grain: a stated rule of an output feature that holds at a position (method.md section 13.1).
CREATE MACRO stated_at(of_layer, of_head, of_feature, of_seq, of_pos) AS TABLE
WITH given (layer, head, feature, seq_id, pos) AS (SELECT of_layer, of_head, of_feature, of_seq, of_pos),

members AS (
    SELECT
        a.rank,
        a.atom,
        a.absent,
        a.at_least,
        a.place,
        a.nearest,
        coalesce(a.farthest, 2147483647) AS farthest,
        a.above,
        a.kind,
        a.member_layer,
        a.member
    FROM given AS g
    INNER JOIN main.stated_atoms AS a ON g.layer = a.layer AND g.head = a.head AND g.feature = a.feature
),

read_text AS (
    SELECT
        t.pos,
        t.token_id,
        g.pos AS here
    FROM given AS g
    INNER JOIN main.tokens AS t ON g.seq_id = t.seq_id AND g.pos >= t.pos
    WHERE t.pos > 0
),

copies AS (
    SELECT k.pos
    FROM read_text AS k
    INNER JOIN read_text AS q ON k.token_id = q.token_id AND k.pos < q.pos
    WHERE q.pos = q.here
),

-- One union a step: of three, DuckDB 1.4 and later do not store the same text.
text_hits AS (
    SELECT
        m.rank,
        m.atom,
        t.pos
    FROM members AS m
    INNER JOIN read_text AS t ON m.member = t.token_id
    WHERE m.kind = 'token'
    UNION
    SELECT
        m.rank,
        m.atom,
        c.pos
    FROM members AS m
    CROSS JOIN copies AS c
    WHERE m.kind = 'same'
),

hits AS (
    SELECT
        rank,
        atom,
        pos
    FROM text_hits
    UNION
    SELECT
        m.rank,
        m.atom,
        i.pos
    FROM given AS g
    CROSS JOIN members AS m
    INNER JOIN main.input_activations AS i
        ON
            g.seq_id = i.seq_id AND m.member_layer = i.layer AND m.member = i.feature
            AND g.pos >= i.pos AND m.above < i.activation
    WHERE m.kind = 'feature' AND i.pos > 0
),

found AS (
    SELECT
        h.rank,
        h.atom,
        count(*) AS n
    FROM given AS g
    CROSS JOIN hits AS h
    INNER JOIN (
        SELECT DISTINCT
            rank,
            atom,
            place,
            nearest,
            farthest
        FROM members
    ) AS a ON h.rank = a.rank AND h.atom = a.atom
    LEFT JOIN copies AS c ON h.pos = c.pos + CASE a.place WHEN 'after copy' THEN 1 ELSE 0 END
    WHERE
        CASE
            WHEN a.place = 'offset' THEN g.pos - h.pos >= a.nearest AND g.pos - h.pos <= a.farthest
            ELSE c.pos IS NOT NULL
        END
    GROUP BY h.rank, h.atom
),

judged AS (
    SELECT
        m.rank,
        bool_and(
            CASE
                WHEN m.kind = 'position' THEN g.pos >= m.nearest AND g.pos <= m.farthest
                WHEN m.absent THEN f.n IS NULL
                ELSE coalesce(f.n, 0) >= m.at_least
            END
        ) AS holds
    FROM given AS g
    CROSS JOIN members AS m
    LEFT JOIN found AS f ON m.rank = f.rank AND m.atom = f.atom
    GROUP BY m.rank
)

SELECT
    s.rank,
    s.statement,
    s.weight,
    s.prior
FROM given AS g
CROSS JOIN judged AS j
INNER JOIN main.stated_rules AS s
    ON g.layer = s.layer AND g.head = s.head AND g.feature = s.feature AND j.rank = s.rank
WHERE j.holds AND g.pos > 0
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::VARCHAR AS statement
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY rank;
COMMENT ON MACRO TABLE stated_at IS 'The stated rules of an output feature that hold at a position, with the log-odds that each adds: FROM stated_at(layer, head, feature, seq_id, pos)';
