-- Absence and counting rules are stored once, and what tests them belongs to them.
-- Reads: absence_tests, counting_rules, counting_tests, distractor_examples, distractors
SELECT
    format(
        'distractors: {}.{} {} pair {} is stored {} times', head_label(layer, head), feature, scaling, pair, count(*)
    ) AS problem
FROM distractors
GROUP BY layer, head, feature, scaling, pair
HAVING count(*) > 1
UNION ALL
SELECT
    format(
        'distractors: {}.{} {} pair {} contradicts its ranks', head_label(layer, head), feature, scaling, pair
    ) AS problem
FROM distractors
WHERE has_distractor_key <> coalesce(distractor_rank < key_rank, FALSE)
UNION ALL
SELECT
    format(
        'distractor_examples: {}.{} {} pair {} has no row in distractors', head_label(layer, head), feature, scaling, pair
    ) AS problem
FROM distractor_examples
ANTI JOIN distractors USING (layer, head, feature, scaling, pair)
UNION ALL
SELECT
    format(
        'distractor_examples: {}.{} sequence {} has positions out of order', head_label(layer, head), feature, seq_id
    ) AS problem
FROM distractor_examples
WHERE
    key_pos > query_pos
    OR distractor_pos > query_pos
    OR distractor_pos = key_pos
    OR (kind = 'has_distractor') <> (distractor_pos IS NOT NULL)
UNION ALL
SELECT
    format(
        'absence_tests: {}.{} {} pair {} has no row in distractors', head_label(layer, head), feature, scaling, pair
    ) AS problem
FROM absence_tests
ANTI JOIN distractors USING (layer, head, feature, scaling, pair)
UNION ALL
SELECT
    format(
        'counting_tests: {}.{} {} pair {} has no counting rule', head_label(layer, head), feature, scaling, pair
    ) AS problem
FROM counting_tests
ANTI JOIN counting_rules USING (layer, head, feature, scaling, pair);
