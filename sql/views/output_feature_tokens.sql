-- Grain: an output feature and a token at which it is active at least 5 times: how much more often than anywhere.
-- Both shares are pulled towards each other by 20 positions at which the feature is active as often as anywhere: so a token
-- that was seen a few times does not lead by luck (method.md section 9).
CREATE VIEW output_feature_tokens AS
WITH corpus_size AS (
    SELECT count(*) AS n_positions
    FROM tokens
),

occurrences AS (
    SELECT
        token_id,
        count(*) AS n_positions
    FROM tokens
    GROUP BY token_id
),

active AS (
    SELECT
        a.layer,
        a.head,
        a.feature,
        t.token_id,
        count(*) AS n_active
    FROM output_activations AS a
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.pos = t.pos
    GROUP BY a.layer, a.head, a.feature, t.token_id
),

shares AS (
    SELECT
        a.layer,
        a.head,
        a.feature,
        a.token_id,
        a.n_active,
        o.n_positions,
        f.n_tokens / z.n_positions AS active_share
    FROM active AS a
    INNER JOIN output_features AS f ON a.layer = f.layer AND a.head = f.head AND a.feature = f.feature
    INNER JOIN occurrences AS o ON a.token_id = o.token_id
    CROSS JOIN corpus_size AS z
    WHERE a.n_active >= 5 AND f.n_tokens > 0
)

SELECT
    s.layer,
    s.head,
    s.feature,
    s.token_id,
    v.token,
    s.n_positions,
    s.n_active,
    s.active_share,
    ((s.n_active + 20 * s.active_share) / (s.n_positions + 20)) / s.active_share AS lift
FROM shares AS s
INNER JOIN vocabulary AS v ON s.token_id = v.token_id;
COMMENT ON VIEW output_feature_tokens IS 'Tokens at which an output feature is active at least 5 times, and how many times more often it is active there than anywhere';
COMMENT ON COLUMN output_feature_tokens.layer IS 'Layer of the head, from 0';
COMMENT ON COLUMN output_feature_tokens.head IS 'Head within the layer, from 0; -1: the SAE over the whole layer';
COMMENT ON COLUMN output_feature_tokens.feature IS 'Output feature of the head, or of the layer';
COMMENT ON COLUMN output_feature_tokens.token_id IS 'Token id';
COMMENT ON COLUMN output_feature_tokens.token IS 'Text of the token';
COMMENT ON COLUMN output_feature_tokens.n_positions IS 'Positions of the corpus with this token';
COMMENT ON COLUMN output_feature_tokens.n_active IS 'Of these, positions at which the feature is active; at least 5';
COMMENT ON COLUMN output_feature_tokens.active_share IS 'Share of all positions at which the feature is active';
COMMENT ON COLUMN output_feature_tokens.lift IS 'Share of the positions with this token at which it is active, with 20 further positions of active_share, as a multiple of active_share';
