-- Grain: an example to change, with the positions up to its query at which the distractor is active, and those that stay
-- as they are: its query's, and where key or query is active. A query that is the distractor stays at its own position alone.
-- Reads: input_activations, test_examples
WITH roles AS (
    SELECT
        e.*,
        unnest([e.key_feature, e.query_feature, e.distractor_feature]) AS role_feature
    FROM test_examples AS e
)

SELECT
    e.feature,
    e.pair,
    e.kind,
    e.seq_id,
    e.key_pos,
    e.query_pos,
    array_agg(DISTINCT a.pos) FILTER (WHERE e.role_feature = e.distractor_feature) AS distractor_positions,
    array_agg(DISTINCT a.pos) FILTER (
        WHERE e.role_feature <> e.distractor_feature OR a.pos = e.query_pos
    ) AS other_positions
FROM roles AS e
INNER JOIN input_activations AS a
    ON e.seq_id = a.seq_id AND e.role_feature = a.feature AND e.query_pos >= a.pos
WHERE a.layer = $layer
GROUP BY e.feature, e.pair, e.kind, e.seq_id, e.key_pos, e.query_pos
ORDER BY e.feature, e.pair, e.kind, e.seq_id;
