-- Grain: a stated rule of a feature of a page and a position where it holds and the feature is active, among 40 drawn ones.
-- Reads: output_activations
WITH drawn AS (
    SELECT
        feature,
        seq_id,
        pos,
        activation
    FROM output_activations
    WHERE
        layer = $layer AND head = $head AND pos > 0
        AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
    QUALIFY row_number() OVER (PARTITION BY feature ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos) <= 40
),

held AS (
    SELECT
        d.feature,
        s.rank,
        d.seq_id,
        d.pos,
        d.activation
    FROM drawn AS d
    CROSS JOIN LATERAL (FROM stated_at($layer, $head, d.feature, d.seq_id, d.pos)) AS s
    QUALIFY row_number() OVER (PARTITION BY d.feature, s.rank ORDER BY d.activation DESC, d.seq_id ASC, d.pos ASC) = 1
)

SELECT
    h.feature,
    h.rank,
    h.activation,
    c.before,
    c.token,
    c.after
FROM held AS h
CROSS JOIN LATERAL (FROM context_at(h.seq_id, h.pos)) AS c
ORDER BY h.feature, h.rank;
