-- Grain: a test of features that are mined or tested again: of the pairs that act through the heads $through, of all
-- where that is NULL.
-- Reads: distractors
-- Writes: absence_tests
DELETE FROM absence_tests
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]))
    AND (
        $through IS NULL
        OR (feature, pair) IN (
            SELECT
                p.feature,
                p.pair
            FROM distractors AS p
            WHERE
                p.layer = $layer
                AND p.head = $head
                AND p.scaling = $scaling
                AND p.through_head IN (SELECT unnest($through::INTEGER[]))
        )
    );
