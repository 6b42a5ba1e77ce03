-- A test of a stated rule belongs to a rule, and to an atom of it where it breaks one; forward passes belong to a test.
-- Reads: stated_atoms, stated_rules, stated_tests, stated_trials
SELECT
    format(
        'stated_tests: {}.{} rule {} {} {} is stored {} times',
        head_label(layer, head), feature, rank, kind, atom, count(*)
    ) AS problem
FROM stated_tests
GROUP BY layer, head, feature, rank, kind, atom
HAVING count(*) > 1
UNION ALL
SELECT format('stated_tests: {}.{} has no stated rule {}', head_label(t.layer, t.head), t.feature, t.rank) AS problem
FROM stated_tests AS t
ANTI JOIN stated_rules AS r ON t.layer = r.layer AND t.head = r.head AND t.feature = r.feature AND t.rank = r.rank
UNION ALL
SELECT
    format(
        'stated_tests: {}.{} rule {} has no atom {} to be {}', head_label(t.layer, t.head), t.feature, t.rank, t.atom, t.kind
    ) AS problem
FROM stated_tests AS t
ANTI JOIN stated_atoms AS a
    ON
        t.layer = a.layer AND t.head = a.head AND t.feature = a.feature AND t.rank = a.rank
        AND t.atom = a.atom AND t.kind = 'necessary'
WHERE t.kind = 'necessary' OR t.atom <> 0
UNION ALL
SELECT
    format(
        'stated_trials: {}.{} rule {} {} of sequence {} belongs to no test',
        head_label(p.layer, p.head), p.feature, p.rank, p.kind, p.seq_id
    ) AS problem
FROM stated_trials AS p
ANTI JOIN stated_tests AS t
    ON
        p.layer = t.layer AND p.head = t.head AND p.feature = t.feature AND p.rank = t.rank AND p.kind = t.kind
        AND (p.atom = t.atom OR p.arm = 'none')
UNION ALL
SELECT
    format(
        'stated_trials: {}.{} rule {}: {} tokens at {} positions of sequence {}',
        head_label(layer, head), feature, rank, len(token_ids), len(positions), seq_id
    ) AS problem
FROM stated_trials
WHERE len(token_ids) <> len(positions);
