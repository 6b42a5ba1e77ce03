-- Grain: a rule that is not stated and a sequence in which it holds somewhere, with the positions at which it does, and those
-- of them at which its feature is active. A key holds from its first place in a sequence on: these positions are counted
-- without being listed, 7 million for 12 features of the demo, whose matching took a quarter of mining a head.
-- Reads: input_activations, judged, key_members, read_rules, read_sequences, read_truth
WITH wanted AS (
    SELECT DISTINCT member
    FROM key_members
),

active AS MATERIALIZED (
    SELECT
        i.feature,
        i.seq_id,
        i.pos
    FROM input_activations AS i
    SEMI JOIN wanted AS w ON i.feature = w.member
    SEMI JOIN read_sequences AS s ON i.seq_id = s.seq_id
    WHERE i.layer = $layer AND i.pos > 0
),

first_of_key AS MATERIALIZED (
    SELECT
        feature,
        seq_id,
        min(pos) AS pos
    FROM active
    GROUP BY feature, seq_id
),

firsts AS MATERIALIZED (
    SELECT
        m.rule,
        f.seq_id,
        min(f.pos) AS pos
    FROM key_members AS m
    INNER JOIN first_of_key AS f ON m.member = f.feature
    WHERE m.atom = 1
    GROUP BY m.rule, f.seq_id
),

with_queries AS MATERIALIZED (
    SELECT DISTINCT rule
    FROM key_members
    WHERE atom = 2
),

truth AS MATERIALIZED (
    SELECT
        t.feature,
        j.seq_id,
        j.pos
    FROM read_truth AS t
    INNER JOIN judged AS j ON t.place = j.place
),

counted_down AS MATERIALIZED (
    SELECT
        seq_id,
        pos,
        row_number() OVER (PARTITION BY seq_id ORDER BY pos DESC) AS n_from_here
    FROM judged
),

asked AS MATERIALIZED (
    SELECT DISTINCT
        m.rule,
        a.seq_id,
        a.pos
    FROM key_members AS m
    INNER JOIN active AS a ON m.member = a.feature
    INNER JOIN firsts AS f ON m.rule = f.rule AND a.seq_id = f.seq_id AND a.pos >= f.pos
    WHERE m.atom = 2
),

found AS (
    SELECT
        f.rule,
        f.seq_id,
        c.n_from_here AS n_matches
    FROM firsts AS f
    ANTI JOIN with_queries AS w ON f.rule = w.rule
    ASOF JOIN counted_down AS c ON f.seq_id = c.seq_id AND f.pos <= c.pos
    UNION ALL
    SELECT
        a.rule,
        a.seq_id,
        count(*) AS n_matches
    FROM asked AS a
    INNER JOIN judged AS j ON a.seq_id = j.seq_id AND a.pos = j.pos
    GROUP BY a.rule, a.seq_id
),

hit AS (
    SELECT
        f.rule,
        f.seq_id,
        count(*) AS n_hits
    FROM firsts AS f
    INNER JOIN read_rules AS r ON f.rule = r.rule
    INNER JOIN truth AS t ON r.feature = t.feature AND f.seq_id = t.seq_id AND f.pos <= t.pos
    ANTI JOIN with_queries AS w ON f.rule = w.rule
    GROUP BY f.rule, f.seq_id
    UNION ALL
    SELECT
        a.rule,
        a.seq_id,
        count(*) AS n_hits
    FROM asked AS a
    INNER JOIN read_rules AS r ON a.rule = r.rule
    INNER JOIN truth AS t ON r.feature = t.feature AND a.seq_id = t.seq_id AND a.pos = t.pos
    GROUP BY a.rule, a.seq_id
)

SELECT
    f.rule,
    f.seq_id,
    f.n_matches,
    coalesce(h.n_hits, 0) AS n_hits
FROM found AS f
LEFT JOIN hit AS h ON f.rule = h.rule AND f.seq_id = h.seq_id
ORDER BY f.rule, f.seq_id;
