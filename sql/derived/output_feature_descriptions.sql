-- Grain of the update: an output feature of $layer. The tokens on which it fires most often for how often it fires at
-- all, each with that lift; where no token has enough active positions, the tokens of largest share of the activation.
-- Reads: output_activations, output_feature_tokens, output_features, tokens, vocabulary
-- Writes: output_features
WITH special AS (
    SELECT
        layer,
        head,
        feature,
        string_agg(token_label(token) || ' ' || lift_label(lift), ', ' ORDER BY lift DESC, token_id ASC) AS description
    FROM (
        FROM output_feature_tokens
        WHERE layer = $layer
        QUALIFY row_number() OVER (PARTITION BY layer, head, feature ORDER BY lift DESC, token_id ASC) <= 4
    )
    GROUP BY layer, head, feature
),

per_token AS (
    SELECT
        a.layer,
        a.head,
        a.feature,
        t.token_id,
        sum(exact_units(a.activation::DOUBLE)) AS amount
    FROM output_activations AS a
    ANTI JOIN special AS s ON a.layer = s.layer AND a.head = s.head AND a.feature = s.feature
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.pos = t.pos
    WHERE a.layer = $layer
    GROUP BY a.layer, a.head, a.feature, t.token_id
),

shares AS (
    SELECT
        layer,
        head,
        feature,
        token_id,
        amount / sum(amount) OVER (PARTITION BY layer, head, feature) AS share
    FROM per_token
),

rare AS (
    SELECT
        s.layer,
        s.head,
        s.feature,
        string_agg(token_label(v.token) || ' ' || share_label(s.share), ', ' ORDER BY s.share DESC, s.token_id ASC)
            AS description
    FROM (
        FROM shares
        QUALIFY row_number() OVER (PARTITION BY layer, head, feature ORDER BY share DESC, token_id ASC) <= 4
    ) AS s
    INNER JOIN vocabulary AS v ON s.token_id = v.token_id
    GROUP BY s.layer, s.head, s.feature
)

UPDATE output_features SET description = c.description
FROM (
    SELECT
        f.layer,
        f.head,
        f.feature,
        coalesce(special.description, rare.description) AS description
    FROM output_features AS f
    LEFT JOIN special USING (layer, head, feature)
    LEFT JOIN rare USING (layer, head, feature)
    WHERE f.layer = $layer
) AS c
WHERE
    output_features.layer = c.layer
    AND output_features.head = c.head
    AND output_features.feature = c.feature;
