-- Grain: an example to change: without a distractor and with the feature active (insertion), or with a distractor
-- (replacement); a seeded draw of at most $n_examples of each per pair. A query at BOS sees nothing that could be changed. All
-- $copies that are inserted leave the query in the sequence: means over 1, 2, ... copies are over the same examples.
-- Reads: distractor_examples, distractors
-- Makes: test_examples
CREATE OR REPLACE TEMP TABLE test_examples AS
SELECT
    e.feature,
    e.pair,
    d.key_feature,
    d.query_feature,
    d.distractor_feature,
    e.kind,
    e.seq_id,
    e.key_pos,
    e.query_pos
FROM distractor_examples AS e
INNER JOIN distractors AS d USING (layer, head, feature, scaling, pair)
WHERE
    e.layer = $layer
    AND e.head = $head
    AND e.scaling = $scaling
    AND d.has_distractor_key
    AND e.query_pos > 0
    AND e.feature IN (SELECT unnest($features::INTEGER[]))
    AND (e.kind = 'has_distractor' OR (e.activation > 0 AND e.query_pos + $copies < $seq_len))
QUALIFY
    row_number() OVER (
        PARTITION BY e.feature, e.pair, e.kind
        ORDER BY mix32(mix32($seed) + e.seq_id), e.seq_id
    ) <= $n_examples;
