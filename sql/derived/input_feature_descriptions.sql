-- Grain of the update: an input feature of $layer. The tokens that make up most of its activation, each with its share; a
-- feature that follows the position rather than the token is described by its position.
-- Reads: input_activations, input_features, tokens, vocabulary
-- Writes: input_features
WITH per_token AS (
    SELECT
        a.layer,
        a.feature,
        t.token_id,
        sum(exact_units(a.activation::DOUBLE)) AS amount
    FROM input_activations AS a
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.pos = t.pos
    WHERE a.layer = $layer AND a.pos > 0
    GROUP BY a.layer, a.feature, t.token_id
),

shares AS (
    SELECT
        layer,
        feature,
        token_id,
        amount / sum(amount) OVER (PARTITION BY layer, feature) AS share
    FROM per_token
),

described AS (
    SELECT
        s.layer,
        s.feature,
        string_agg(token_label(v.token) || ' ' || share_label(s.share), ', ' ORDER BY s.share DESC, s.token_id ASC)
            AS description,
        max(s.share) AS top_share
    FROM (
        FROM shares
        QUALIFY row_number() OVER (PARTITION BY layer, feature ORDER BY share DESC, token_id ASC) <= 4
    ) AS s
    INNER JOIN vocabulary AS v ON s.token_id = v.token_id
    GROUP BY s.layer, s.feature
),

per_position AS (
    SELECT
        layer,
        feature,
        pos,
        sum(exact_units(activation::DOUBLE)) AS amount
    FROM input_activations
    WHERE layer = $layer AND pos > 0
    GROUP BY layer, feature, pos
),

by_position AS (
    SELECT
        layer,
        feature,
        pos,
        amount / sum(amount) OVER (PARTITION BY layer, feature) AS share
    FROM per_position
    QUALIFY row_number() OVER (PARTITION BY layer, feature ORDER BY amount DESC, pos ASC) = 1
),

on_bos AS (
    SELECT DISTINCT
        layer,
        feature
    FROM input_activations
    WHERE layer = $layer AND pos = 0
)

UPDATE input_features SET description = c.description
FROM (
    SELECT
        f.layer,
        f.feature,
        CASE
            WHEN d.feature IS NULL AND b.feature IS NOT NULL THEN 'BOS only'
            WHEN p.share >= 0.5 AND p.share > d.top_share
                THEN 'position ' || p.pos || ' ' || share_label(p.share)
            ELSE d.description
        END AS description
    FROM input_features AS f
    LEFT JOIN described AS d ON f.layer = d.layer AND f.feature = d.feature
    LEFT JOIN by_position AS p ON f.layer = p.layer AND f.feature = p.feature
    LEFT JOIN on_bos AS b ON f.layer = b.layer AND f.feature = b.feature
    WHERE f.layer = $layer
) AS c
WHERE input_features.layer = c.layer AND input_features.feature = c.feature;
