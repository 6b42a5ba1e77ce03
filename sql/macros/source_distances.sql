-- Grain: a distance from an output feature's active positions to the keys that its heads attend to there, BOS left out.
-- Both sides are means over at most 1,000 drawn active positions, and over 8,192 of all.
CREATE MACRO source_distances(of_layer, of_head, of_feature) AS TABLE
WITH given (layer, head, feature) AS (SELECT of_layer, of_head, of_feature),

active AS (
    SELECT
        a.seq_id,
        a.pos
    FROM given AS g
    INNER JOIN main.output_activations AS a ON g.layer = a.layer AND g.head = a.head AND g.feature = a.feature
    WHERE a.pos > 0
    QUALIFY row_number() OVER (ORDER BY main.mix32(main.mix32(a.seq_id) + a.pos), a.seq_id, a.pos) <= 1000
),

everywhere AS (
    SELECT
        t.seq_id,
        t.pos
    FROM main.tokens AS t
    WHERE t.pos > 0
    QUALIFY row_number() OVER (ORDER BY main.mix32(main.mix32(t.seq_id) + t.pos), t.seq_id, t.pos) <= 8192
),

drawn AS (
    SELECT
        seq_id,
        pos,
        1 / count(*) OVER () AS factor,
        0 AS factor_everywhere
    FROM active
    UNION ALL
    SELECT
        seq_id,
        pos,
        0 AS factor,
        1 / count(*) OVER () AS factor_everywhere
    FROM everywhere
)

SELECT
    a.head AS through_head,
    (a.query_pos - a.key_pos)::INTEGER AS distance,
    main.exact_sum(a.weight * d.factor) AS attention,
    main.exact_sum(a.weight * d.factor_everywhere) AS attention_everywhere
FROM given AS g
CROSS JOIN drawn AS d
INNER JOIN main.attention_sources AS a
    ON
        g.layer = a.layer AND d.seq_id = a.seq_id AND d.pos = a.query_pos
        AND (g.head = a.head OR g.head = -1)
WHERE a.key_pos > 0
GROUP BY a.head, a.query_pos - a.key_pos
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::INTEGER AS distance
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY through_head, distance;
COMMENT ON MACRO TABLE source_distances IS 'How far back the heads of an output feature look where it is active, and anywhere: mean attention by distance, BOS left out: FROM source_distances(layer, head, feature)';
