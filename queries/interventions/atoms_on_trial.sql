-- Grain: a forward pass and an atom of the rule that it tests, with whether it is true there.
-- Reads: judged, read_atoms, read_members
WITH atoms AS (
    SELECT DISTINCT
        rule,
        scope,
        atom,
        absent
    FROM read_members
)

SELECT
    j.place AS trial,
    a.atom,
    (f.atom IS NOT NULL) <> a.absent AS is_true
FROM judged AS j
INNER JOIN atoms AS a ON j.scope = a.scope
LEFT JOIN read_atoms AS f ON a.rule = f.rule AND a.atom = f.atom AND j.place = f.place
ORDER BY trial, a.atom;
