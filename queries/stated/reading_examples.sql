-- Grain: a position drawn by a seed at which the rule holds (right or wrong), or at which it misses the feature, with the
-- text before it.
-- Reads: judged, read_matches, read_truth, tokens, vocabulary
WITH kinds AS (
    SELECT
        j.place,
        j.seq_id,
        j.pos,
        t.activation,
        CASE WHEN m.place IS NULL THEN 'missed' WHEN t.place IS NULL THEN 'wrong' ELSE 'right' END AS kind
    FROM judged AS j
    LEFT JOIN read_matches AS m ON j.place = m.place
    LEFT JOIN read_truth AS t ON j.place = t.place
    WHERE m.place IS NOT NULL OR t.place IS NOT NULL
),

drawn AS (
    FROM kinds
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY mix32(mix32($seed + seq_id) + pos), seq_id, pos) <= $n_examples
)

SELECT
    d.kind,
    d.seq_id,
    d.pos,
    d.activation,
    coalesce(
        joined_text(
            CASE WHEN t.pos < d.pos THEN v.token END, CASE WHEN t.pos < d.pos THEN v.token_bytes END, t.pos
        ),
        ''
    ) AS before,
    max(v.token) FILTER (WHERE t.pos = d.pos) AS token
FROM drawn AS d
INNER JOIN tokens AS t ON d.seq_id = t.seq_id AND d.pos >= t.pos
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
WHERE t.pos > 0
GROUP BY d.kind, d.seq_id, d.pos, d.activation
ORDER BY d.kind, d.seq_id, d.pos;
