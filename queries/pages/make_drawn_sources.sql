-- Grain: a source, after BOS, of one of at most 1,000 drawn active positions of a feature of a page; feature -1 stands for
-- 8,192 drawn positions of all: the same that source_distances and the question attended_tokens draw.
-- Reads: attention_sources, output_activations, tokens
-- Makes: drawn_sources
CREATE OR REPLACE TEMP TABLE drawn_sources AS
WITH drawn AS (
    SELECT
        feature,
        seq_id,
        pos
    FROM output_activations
    WHERE
        layer = $layer AND head = $head AND pos > 0
        AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos) <= 1000
    UNION ALL
    (
        SELECT
            -1 AS feature,
            seq_id,
            pos
        FROM tokens
        WHERE pos > 0
        ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos
        LIMIT 8192
    )
),

counted AS (
    SELECT
        feature,
        seq_id,
        pos,
        count(*) OVER (PARTITION BY feature) AS n_positions
    FROM drawn
)

SELECT
    d.feature,
    t.token_id,
    a.query_pos - a.key_pos AS distance,
    a.weight * (1 / d.n_positions) AS attention
FROM counted AS d
INNER JOIN attention_sources AS a ON d.seq_id = a.seq_id AND d.pos = a.query_pos
INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.key_pos = t.pos
WHERE a.layer = $layer AND (a.head = $head OR $head = -1) AND a.key_pos > 0;
