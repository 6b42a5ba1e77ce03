-- Grain: an atom whose set is looked for, or whose positions are named, and a judged position at which enough positions of
-- its place hold a member. What an atom says "no" to is found here too.
-- Reads: judged, read_copies, read_hits, read_members
-- Makes: read_atoms
CREATE OR REPLACE TEMP TABLE read_atoms AS
WITH atoms AS MATERIALIZED (
    SELECT DISTINCT
        rule,
        scope,
        atom,
        at_least,
        place,
        nearest,
        farthest,
        kind = 'same' AS is_same
    FROM read_members
),

-- So many hits in a row lie in the place of every position from `first_pos` to `last_pos`.
spans AS (
    SELECT
        h.rule,
        a.scope,
        h.atom,
        h.seq_id,
        h.pos + a.nearest AS first_pos,
        lag(h.pos, a.at_least - 1) OVER (PARTITION BY h.rule, h.atom, h.seq_id ORDER BY h.pos) + a.farthest AS last_pos,
        row_number() OVER (PARTITION BY h.rule, h.atom, h.seq_id ORDER BY h.pos) AS n_hits,
        a.at_least,
        a.farthest IS NULL AS is_open
    FROM read_hits AS h
    INNER JOIN atoms AS a ON h.rule = a.rule AND h.atom = a.atom
    WHERE a.place = 'offset'
),

-- Of a place without an end the first such hits are enough.
enough AS (
    SELECT
        rule,
        scope,
        atom,
        seq_id,
        first_pos,
        CASE WHEN is_open THEN 2147483647 ELSE last_pos END AS last_pos,
        is_open
    FROM spans
    WHERE CASE WHEN is_open THEN n_hits = at_least ELSE n_hits >= at_least AND first_pos <= last_pos END
)

-- A place without an end has one span in a sequence, others may have several at a position.
SELECT
    e.rule,
    e.atom,
    j.place
FROM enough AS e
INNER JOIN judged AS j ON e.scope = j.scope AND e.seq_id = j.seq_id AND e.first_pos <= j.pos
WHERE e.is_open
UNION ALL
SELECT DISTINCT
    e.rule,
    e.atom,
    j.place
FROM enough AS e
INNER JOIN judged AS j
    ON e.scope = j.scope AND e.seq_id = j.seq_id AND e.first_pos <= j.pos AND e.last_pos >= j.pos
WHERE NOT e.is_open
UNION ALL
SELECT
    a.rule,
    a.atom,
    c.place
FROM atoms AS a
INNER JOIN read_copies AS c
    ON a.scope = c.scope AND c.pos - c.copy_pos >= a.nearest AND c.pos - c.copy_pos <= coalesce(a.farthest, 2147483647)
WHERE a.is_same
GROUP BY a.rule, a.atom, c.place, a.at_least
HAVING count(*) >= a.at_least
UNION ALL
SELECT
    a.rule,
    a.atom,
    c.place
FROM atoms AS a
INNER JOIN read_hits AS h ON a.rule = h.rule AND a.atom = h.atom
INNER JOIN read_copies AS c
    ON
        a.scope = c.scope AND h.seq_id = c.seq_id
        AND h.pos - CASE a.place WHEN 'copy' THEN 0 ELSE 1 END = c.copy_pos
WHERE a.place IN ('copy', 'after copy')
GROUP BY a.rule, a.atom, c.place, a.at_least
HAVING count(*) >= a.at_least
UNION ALL
SELECT
    a.rule,
    a.atom,
    j.place
FROM atoms AS a
INNER JOIN judged AS j
    ON a.scope = j.scope AND a.nearest <= j.pos AND coalesce(a.farthest, 2147483647) >= j.pos
WHERE a.place = 'position';
