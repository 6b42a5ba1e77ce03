-- Grain: a rule and a judged position at which it holds: all of its atoms but those that say "no", and none of these.
-- Reads: judged, read_atoms, read_members
-- Makes: read_matches
CREATE OR REPLACE TEMP TABLE read_matches AS
WITH atoms AS (
    SELECT DISTINCT
        rule,
        scope,
        atom,
        absent
    FROM read_members
),

needed AS MATERIALIZED (
    SELECT
        rule,
        scope,
        count(*) FILTER (WHERE NOT absent) AS n_atoms,
        count(*) AS n_all
    FROM atoms
    GROUP BY rule, scope
),

found AS (
    SELECT
        r.rule,
        r.place,
        count(*) FILTER (WHERE NOT a.absent) AS n_true,
        count(*) FILTER (WHERE a.absent) AS n_denied
    FROM read_atoms AS r
    INNER JOIN needed AS n ON r.rule = n.rule
    INNER JOIN atoms AS a ON r.rule = a.rule AND r.atom = a.atom
    WHERE n.n_atoms <> 1 OR n.n_all <> 1
    GROUP BY r.rule, r.place
)

-- A rule of one atom holds where that does: counting these too took most of the time of reading key rules.
SELECT
    n.rule,
    r.place
FROM needed AS n
INNER JOIN read_atoms AS r ON n.rule = r.rule
WHERE n.n_atoms = 1 AND n.n_all = 1
UNION ALL
SELECT
    n.rule,
    f.place
FROM needed AS n
INNER JOIN found AS f ON n.rule = f.rule AND n.n_atoms = f.n_true
WHERE n.n_atoms > 0 AND f.n_denied = 0
UNION ALL
-- A rule of "no" alone holds wherever nothing of it is found.
SELECT
    n.rule,
    j.place
FROM needed AS n
INNER JOIN judged AS j ON n.scope = j.scope
ANTI JOIN found AS f ON n.rule = f.rule AND j.place = f.place
WHERE n.n_atoms = 0;
