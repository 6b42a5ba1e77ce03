-- Grain of the update: an output feature. The tokens at which it fires most, each with its share of the activation.
WITH per_token AS (
    SELECT
        a.layer,
        a.head,
        a.feature,
        t.token_id,
        sum(exact_units(a.activation::DOUBLE)) AS amount
    FROM output_activations AS a
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.pos = t.pos
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

described AS (
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
        described.description
    FROM output_features AS f
    LEFT JOIN described USING (layer, head, feature)
) AS c
WHERE
    output_features.layer = c.layer
    AND output_features.head = c.head
    AND output_features.feature = c.feature;
