-- Grain: an output feature and a token that follows, in at least 3 sequences, a position at which the feature is active.
-- The log-odds are pulled to 0 by 20 further positions at the base rate. Positions of one text depend on each other, so
-- that the interval counts sequences: of a Poisson count of n_sequences, by Byar's approximation, at 99.9% because
-- thousands of tokens are looked at (method.md section 12.2).
CREATE VIEW output_next_tokens AS
WITH base AS (
    SELECT
        token_id,
        count(*) AS n,
        sum(count(*)) OVER () AS n_positions
    FROM tokens
    WHERE pos > 1
    GROUP BY token_id
),

by_sequence AS (
    SELECT
        a.layer,
        a.head,
        a.feature,
        t.token_id,
        a.seq_id,
        count(*) AS n
    FROM output_activations AS a
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.pos + 1 = t.pos
    WHERE a.pos > 0
    GROUP BY a.layer, a.head, a.feature, t.token_id, a.seq_id
),

followed AS (
    SELECT
        layer,
        head,
        feature,
        token_id,
        sum(n) AS n_followed,
        count(*) AS n_sequences
    FROM by_sequence
    GROUP BY layer, head, feature, token_id
),

active AS (
    SELECT
        layer,
        head,
        feature,
        sum(n_followed) AS n_active
    FROM followed
    GROUP BY layer, head, feature
),

measured AS (
    SELECT
        f.layer,
        f.head,
        f.feature,
        f.token_id,
        a.n_active,
        f.n_followed,
        f.n_sequences,
        b.n / b.n_positions AS base_rate,
        ln(
            (f.n_followed + 20 * (b.n / b.n_positions))
            / (a.n_active - f.n_followed + 20 * (1 - b.n / b.n_positions))
        ) - ln(b.n / (b.n_positions - b.n)) AS log_odds,
        1 - 1 / (9 * f.n_sequences) - 3.2905 / (3 * sqrt(f.n_sequences)) AS low_root,
        1 - 1 / (9 * (f.n_sequences + 1)) + 3.2905 / (3 * sqrt(f.n_sequences + 1)) AS high_root
    FROM followed AS f
    INNER JOIN active AS a ON f.layer = a.layer AND f.head = a.head AND f.feature = a.feature
    INNER JOIN base AS b ON f.token_id = b.token_id
    WHERE f.n_sequences >= 3 AND b.n < b.n_positions
)

SELECT
    m.layer,
    m.head,
    m.feature,
    m.token_id,
    v.token,
    m.n_active::BIGINT AS n_active,
    m.n_followed::BIGINT AS n_followed,
    m.n_sequences,
    m.base_rate,
    m.log_odds,
    m.log_odds + 3 * ln(m.low_root) AS log_odds_low,
    m.log_odds + 3 * ln(m.high_root) + ln((m.n_sequences + 1) / m.n_sequences) AS log_odds_high
FROM measured AS m
INNER JOIN vocabulary AS v ON m.token_id = v.token_id;
COMMENT ON VIEW output_next_tokens IS 'Tokens that follow, in at least 3 sequences, where an output feature is active, and how much more often than anywhere; correlation, not effect';
COMMENT ON COLUMN output_next_tokens.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_next_tokens.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_next_tokens.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_next_tokens.token_id IS 'Token that follows';
COMMENT ON COLUMN output_next_tokens.token IS 'Text of the token';
COMMENT ON COLUMN output_next_tokens.n_active IS 'Positions after BOS, with a next token, at which the feature is active';
COMMENT ON COLUMN output_next_tokens.n_followed IS 'Of these, positions that the token follows';
COMMENT ON COLUMN output_next_tokens.n_sequences IS 'Sequences that hold one of these; at least 3';
COMMENT ON COLUMN output_next_tokens.base_rate IS 'Share of all positions after BOS, with a next token, that the token follows';
COMMENT ON COLUMN output_next_tokens.log_odds IS 'Log-odds that the token follows where the feature is active, with 20 further positions at base_rate, less those of base_rate';
COMMENT ON COLUMN output_next_tokens.log_odds_low IS 'Lower end of its 99.9% interval, which counts sequences, not positions';
COMMENT ON COLUMN output_next_tokens.log_odds_high IS 'Upper end';
