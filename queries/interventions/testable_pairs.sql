-- Grain: a pair whose distractor outranks its key.
-- Reads: distractors
SELECT
    d.feature,
    d.pair,
    d.key_feature,
    d.query_feature,
    d.distractor_feature,
    d.through_head
FROM distractors AS d
WHERE
    d.layer = $layer
    AND d.head = $head
    AND d.scaling = $scaling
    AND d.has_distractor_key
    AND d.feature IN (SELECT unnest($features::INTEGER[]))
    AND d.through_head IN (SELECT unnest($through::INTEGER[]))
ORDER BY d.feature, d.pair;
