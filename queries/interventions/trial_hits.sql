-- Grain: an example of a rule, an atom of it that has a set, and a position of the atom's place that holds a member; of
-- "same" the earlier copies are these positions.
-- Reads: read_copies, read_hits, read_members, trial_examples
WITH atoms AS (
    SELECT DISTINCT
        rule,
        atom,
        place,
        nearest,
        farthest,
        kind = 'same' AS is_same
    FROM read_members
    WHERE kind <> 'position'
),

found AS (
    SELECT
        e.rule,
        e.place,
        a.atom,
        h.pos AS hit_pos
    FROM trial_examples AS e
    INNER JOIN atoms AS a ON e.rule = a.rule
    INNER JOIN read_hits AS h ON a.rule = h.rule AND a.atom = h.atom AND e.seq_id = h.seq_id
    WHERE
        a.place = 'offset' AND e.pos - h.pos >= a.nearest AND e.pos - h.pos <= coalesce(a.farthest, e.pos)
    UNION ALL
    SELECT
        e.rule,
        e.place,
        a.atom,
        c.copy_pos AS hit_pos
    FROM trial_examples AS e
    INNER JOIN atoms AS a ON e.rule = a.rule
    INNER JOIN read_copies AS c ON e.place = c.place
    WHERE a.is_same AND e.pos - c.copy_pos >= a.nearest AND e.pos - c.copy_pos <= coalesce(a.farthest, e.pos)
    UNION ALL
    SELECT
        e.rule,
        e.place,
        a.atom,
        h.pos AS hit_pos
    FROM trial_examples AS e
    INNER JOIN atoms AS a ON e.rule = a.rule
    INNER JOIN read_copies AS c ON e.place = c.place
    INNER JOIN read_hits AS h
        ON
            a.rule = h.rule AND a.atom = h.atom AND c.seq_id = h.seq_id
            AND h.pos = c.copy_pos + CASE a.place WHEN 'copy' THEN 0 ELSE 1 END
    WHERE a.place IN ('copy', 'after copy')
)

SELECT
    e.rule,
    e.seq_id,
    e.pos,
    f.atom,
    list(DISTINCT f.hit_pos ORDER BY f.hit_pos DESC) AS positions
FROM trial_examples AS e
LEFT JOIN found AS f ON e.rule = f.rule AND e.place = f.place
GROUP BY e.rule, e.draw, e.seq_id, e.pos, f.atom
ORDER BY e.rule, e.draw, e.seq_id, f.atom;
