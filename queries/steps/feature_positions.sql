-- Grain: a candidate query of a mined feature active at a position, of a range of sequences: where the feature is active
-- too, at a train position (`kind` 0) or another (1); and at any position of the train sequences that hold a val or test
-- example of the feature (2), which are no train positions of it.
WITH held_out AS (
    SELECT DISTINCT
        e.feature,
        e.seq_id
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE
        e.layer = $layer AND e.head = $head AND e.split <> 'train' AND e.seq_id BETWEEN $begin AND $last
        AND sequence_split($seed, e.seq_id) = 'train'
),

wanted AS (
    SELECT DISTINCT
        feature,
        query_feature
    FROM candidate_pairs
)

SELECT
    a.feature,
    i.feature AS query_feature,
    i.seq_id,
    i.pos,
    (sequence_split($seed, i.seq_id) <> 'train' OR h.seq_id IS NOT NULL)::UTINYINT AS kind
FROM output_activations AS a
SEMI JOIN mined_features AS f ON a.feature = f.feature
INNER JOIN input_activations AS i ON a.seq_id = i.seq_id AND a.pos = i.pos
SEMI JOIN wanted AS w ON a.feature = w.feature AND i.feature = w.query_feature
LEFT JOIN held_out AS h ON a.feature = h.feature AND a.seq_id = h.seq_id
WHERE
    a.layer = $layer AND a.head = $head AND i.layer = $layer AND a.pos > 0
    AND a.seq_id BETWEEN $begin AND $last AND i.seq_id BETWEEN $begin AND $last
UNION ALL
SELECT
    h.feature,
    i.feature AS query_feature,
    i.seq_id,
    i.pos,
    2 AS kind
FROM held_out AS h
INNER JOIN input_activations AS i ON h.seq_id = i.seq_id
SEMI JOIN wanted AS w ON h.feature = w.feature AND i.feature = w.query_feature
WHERE i.layer = $layer AND i.pos > 0 AND i.seq_id BETWEEN $begin AND $last;
