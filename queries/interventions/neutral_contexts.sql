-- Grain: a rule and a judged position where no set of it is found, its conditions on the position are true, and its feature
-- is silent: one of a sequence and at most $n_contexts of a rule, in a seeded draw.
-- Reads: judged, output_activations, read_atoms, read_members, read_rules
WITH sampled AS MATERIALIZED (
    SELECT
        j.place,
        j.seq_id,
        j.pos
    FROM judged AS j
    QUALIFY row_number() OVER (ORDER BY mix32(mix32(mix32($seed) + j.seq_id) + j.pos), j.place) <= $n_sampled
),

atoms AS (
    SELECT DISTINCT
        rule,
        atom,
        kind = 'position' AS is_position
    FROM read_members
),

-- How many sets are found there, and how many conditions on the position are true.
found AS (
    SELECT
        f.rule,
        f.place,
        count(*) FILTER (WHERE NOT a.is_position) AS n_sets,
        count(*) FILTER (WHERE a.is_position) AS n_positions
    FROM read_atoms AS f
    SEMI JOIN sampled AS s ON f.place = s.place
    INNER JOIN atoms AS a ON f.rule = a.rule AND f.atom = a.atom
    GROUP BY f.rule, f.place
),

conditions AS (
    SELECT
        rule,
        count(*) FILTER (WHERE is_position) AS n_positions
    FROM atoms
    GROUP BY rule
),

active AS MATERIALIZED (
    SELECT
        a.feature,
        s.place
    FROM output_activations AS a
    INNER JOIN sampled AS s ON a.seq_id = s.seq_id AND a.pos = s.pos
    WHERE a.layer = $layer AND a.head = $head
),

neutral AS (
    SELECT
        r.rule,
        s.seq_id,
        s.pos,
        mix32(mix32($seed) + s.seq_id) AS draw
    FROM read_rules AS r
    INNER JOIN conditions AS c ON r.rule = c.rule
    CROSS JOIN sampled AS s
    LEFT JOIN found AS f ON r.rule = f.rule AND s.place = f.place
    ANTI JOIN active AS a ON r.feature = a.feature AND s.place = a.place
    WHERE coalesce(f.n_sets, 0) = 0 AND coalesce(f.n_positions, 0) = c.n_positions
    QUALIFY row_number() OVER (PARTITION BY r.rule, s.seq_id ORDER BY mix32(mix32($seed + 1) + s.pos), s.pos) = 1
)

SELECT
    rule,
    seq_id,
    pos
FROM neutral
QUALIFY row_number() OVER (PARTITION BY rule ORDER BY draw, seq_id) <= $n_contexts
ORDER BY rule, draw, seq_id;
