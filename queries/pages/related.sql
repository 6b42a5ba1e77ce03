-- Grain: a feature of a page and one of the eight of its layer whose first rules share most keys with its own: the same that
-- the question related_features finds.
-- Reads: input_features, output_features, rules
WITH listed AS (
    SELECT
        head,
        feature,
        key_feature,
        arg_max(value_score > 0, abs(value_score)) AS raises
    FROM rules
    WHERE layer = $layer AND method = $method AND rank <= 16
    GROUP BY head, feature, key_feature
),

sizes AS (
    SELECT
        head,
        feature,
        count(*) AS n_keys
    FROM listed
    GROUP BY head, feature
),

shared AS (
    SELECT
        a.head,
        a.feature,
        b.head AS other_head,
        b.feature AS other_feature,
        count(*) AS n_shared,
        min(a.key_feature) AS example_key
    FROM listed AS a
    INNER JOIN listed AS b ON a.key_feature = b.key_feature AND a.raises = b.raises
    WHERE
        a.head = $head AND a.feature IN (SELECT unnest($features::INTEGER[]) AS feature)
        AND (b.head <> a.head OR b.feature <> a.feature)
    GROUP BY a.head, a.feature, b.head, b.feature
)

SELECT
    s.feature,
    head_label($layer, s.other_head) AS other_head,
    s.other_feature,
    s.n_shared,
    s.n_shared / (a.n_keys + b.n_keys - s.n_shared) AS share_of_keys,
    i.description AS one_key,
    o.description
FROM shared AS s
INNER JOIN sizes AS a ON s.head = a.head AND s.feature = a.feature
INNER JOIN sizes AS b ON s.other_head = b.head AND s.other_feature = b.feature
LEFT JOIN input_features AS i ON i.layer = $layer AND s.example_key = i.feature
LEFT JOIN output_features AS o ON o.layer = $layer AND s.other_head = o.head AND s.other_feature = o.feature
QUALIFY
    row_number() OVER (
        PARTITION BY s.feature
        ORDER BY
            s.n_shared / (a.n_keys + b.n_keys - s.n_shared) DESC,
            s.n_shared DESC,
            s.other_head ASC,
            s.other_feature ASC
    ) <= 8
ORDER BY s.feature ASC, share_of_keys DESC, s.n_shared DESC, s.other_head ASC, s.other_feature ASC;
