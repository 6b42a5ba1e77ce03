-- Grain: an active position of an output feature of $features, one of a sequence and at most $n_examples of the feature, in a
-- seeded draw; with the token that follows, and the other feature of the head that writes about as much there.
-- Reads: output_activations, output_effects, tokens
WITH sized AS MATERIALIZED (
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        a.activation,
        ln(a.activation::DOUBLE * e.write_norm) AS log_size
    FROM output_activations AS a
    INNER JOIN output_effects AS e ON a.layer = e.layer AND a.head = e.head AND a.feature = e.feature
    WHERE a.layer = $layer AND a.head = $head AND a.pos > 0 AND e.write_norm > 0
),

one_of_a_sequence AS (
    SELECT
        s.feature,
        s.seq_id,
        s.pos,
        s.activation,
        s.log_size,
        t.token_id AS next_token
    FROM sized AS s
    INNER JOIN tokens AS t ON s.seq_id = t.seq_id AND s.pos + 1 = t.pos
    WHERE s.feature IN (SELECT unnest($features::INTEGER[]))
    QUALIFY
        row_number() OVER (
            PARTITION BY s.feature, s.seq_id
            ORDER BY mix32(mix32($seed + s.seq_id) + s.pos), s.pos
        ) = 1
),

drawn AS (
    FROM one_of_a_sequence
    QUALIFY
        row_number() OVER (
            PARTITION BY feature
            ORDER BY mix32(mix32($seed) + seq_id), seq_id
        ) <= $n_examples
)

SELECT
    d.feature,
    d.seq_id,
    d.pos,
    d.activation,
    d.next_token,
    c.feature AS control,
    c.activation AS control_activation
FROM drawn AS d
LEFT JOIN sized AS c ON d.seq_id = c.seq_id AND d.pos = c.pos AND d.feature <> c.feature
QUALIFY
    row_number() OVER (
        PARTITION BY d.feature, d.seq_id
        ORDER BY abs(c.log_size - d.log_size) ASC NULLS LAST, c.feature ASC
    ) = 1
ORDER BY d.feature, d.seq_id;
