-- Grain: a role of a head of $layer, over query positions from 2 on: method.md section 14.1. The interval is that of a
-- ratio of sums over sequences. BOS is no copy of a token, and no key of the mean attention by distance.
-- Reads: attention_sources, heads, tokens
-- Writes: head_roles
WITH roles (role, control_from) AS (
    VALUES
    ('previous_token', 'uniform'), ('duplicate_token', 'distance'), ('induction', 'distance'),
    ('bos', 'uniform'), ('self', 'uniform')
),

copies AS (
    SELECT
        q.seq_id,
        q.pos AS query_pos,
        k.pos AS copy_pos
    FROM tokens AS q
    INNER JOIN tokens AS k ON q.seq_id = k.seq_id AND q.token_id = k.token_id AND q.pos > k.pos
    WHERE q.pos >= 2 AND k.pos > 0
),

named_keys AS (
    SELECT
        seq_id,
        query_pos,
        copy_pos AS key_pos,
        'duplicate_token' AS role
    FROM copies
    UNION ALL
    SELECT
        seq_id,
        query_pos,
        copy_pos + 1 AS key_pos,
        'induction' AS role
    FROM copies
),

query_counts AS (
    SELECT
        pos,
        count(*) AS n
    FROM tokens
    WHERE pos >= 2
    GROUP BY pos
),

positions AS (
    SELECT
        t.seq_id,
        r.role,
        count(*) AS n
    FROM tokens AS t
    CROSS JOIN roles AS r
    WHERE t.pos >= 2 AND r.control_from = 'uniform'
    GROUP BY t.seq_id, r.role
    UNION ALL
    SELECT
        seq_id,
        role,
        count(DISTINCT query_pos) AS n
    FROM named_keys
    GROUP BY seq_id, role
),

attended AS (
    SELECT
        layer,
        head,
        seq_id,
        CASE WHEN key_pos = query_pos THEN 'self' WHEN key_pos = 0 THEN 'bos' ELSE 'previous_token' END AS role,
        exact_sum(weight::DOUBLE) AS attention
    FROM attention_sources
    WHERE layer = $layer AND query_pos >= 2 AND (key_pos = 0 OR key_pos >= query_pos - 1)
    GROUP BY ALL
    UNION ALL
    SELECT
        a.layer,
        a.head,
        a.seq_id,
        k.role,
        exact_sum(a.weight::DOUBLE) AS attention
    FROM attention_sources AS a
    INNER JOIN named_keys AS k
        ON a.seq_id = k.seq_id AND a.query_pos = k.query_pos AND a.key_pos = k.key_pos
    WHERE a.layer = $layer
    GROUP BY ALL
),

per_sequence AS (
    SELECT
        h.layer,
        h.head,
        p.role,
        p.n,
        coalesce(a.attention, 0) AS attention
    FROM heads AS h
    CROSS JOIN positions AS p
    LEFT JOIN attended AS a
        ON h.layer = a.layer AND h.head = a.head AND p.seq_id = a.seq_id AND p.role = a.role
    WHERE h.layer = $layer
),

measured AS (
    SELECT
        layer,
        head,
        role,
        count(*) AS n_sequences,
        sum(n) AS n_positions,
        exact_sum(attention) / sum(n) AS mean,
        exact_sum(attention ** 2) AS squares,
        exact_sum(attention * n) AS products,
        sum(n ** 2) AS squared_n
    FROM per_sequence
    GROUP BY layer, head, role
),

spread AS (
    SELECT
        layer,
        head,
        role,
        1.96 * sqrt(
            greatest(0, squares - 2 * mean * products + mean ** 2 * squared_n)
            * n_sequences / (n_sequences - 1)
        ) / n_positions AS half_width
    FROM measured
    WHERE n_sequences > 1
),

by_distance AS (
    SELECT
        layer,
        head,
        query_pos - key_pos AS distance,
        exact_sum(weight::DOUBLE) AS attention
    FROM attention_sources
    WHERE layer = $layer AND query_pos >= 2 AND key_pos > 0
    GROUP BY ALL
),

-- Query positions beyond a distance are those from the next position on, of which 2 is the first. Sequences are of one
-- length, so that each position has a row.
pair_counts AS (
    SELECT
        d.distance,
        q.n
    FROM (SELECT DISTINCT distance FROM by_distance) AS d
    INNER JOIN (
        SELECT
            pos,
            sum(n) OVER (ORDER BY pos DESC) AS n
        FROM query_counts
    ) AS q ON greatest(2, d.distance + 1) = q.pos
),

named_counts AS (
    SELECT
        role,
        query_pos - key_pos AS distance,
        count(*) AS n
    FROM named_keys
    GROUP BY ALL
),

controls AS (
    SELECT
        d.layer,
        d.head,
        c.role,
        exact_sum(c.n * d.attention / p.n) AS attention
    FROM named_counts AS c
    INNER JOIN by_distance AS d ON c.distance = d.distance
    INNER JOIN pair_counts AS p ON d.distance = p.distance
    GROUP BY d.layer, d.head, c.role
),

uniform AS (SELECT exact_sum(n / (pos + 1)) / sum(n) AS control FROM query_counts)

INSERT INTO head_roles BY NAME
SELECT
    h.layer,
    h.head,
    r.role,
    m.mean AS attention,
    CASE WHEN m.n_sequences > 1 THEN greatest(0, m.mean - s.half_width) END AS attention_low,
    CASE WHEN m.n_sequences > 1 THEN least(1, m.mean + s.half_width) END AS attention_high,
    CASE
        WHEN m.n_positions IS NULL THEN NULL
        WHEN r.control_from = 'uniform' THEN u.control
        ELSE coalesce(c.attention, 0) / m.n_positions
    END AS control,
    r.control_from,
    coalesce(m.n_positions, 0) AS n_positions,
    coalesce(m.n_sequences, 0) AS n_sequences
FROM heads AS h
CROSS JOIN roles AS r
CROSS JOIN uniform AS u
LEFT JOIN measured AS m ON h.layer = m.layer AND h.head = m.head AND r.role = m.role
LEFT JOIN spread AS s ON h.layer = s.layer AND h.head = s.head AND r.role = s.role
LEFT JOIN controls AS c ON h.layer = c.layer AND h.head = c.head AND r.role = c.role
WHERE h.layer = $layer
ORDER BY h.layer, h.head, r.role;
