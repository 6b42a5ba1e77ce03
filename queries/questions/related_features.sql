-- Features like one: those of the same layer, of any head, whose first rules share most keys with its own.
-- Group: one feature
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $method = "weighted": how the rules were found
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of features
WITH listed AS (
    SELECT
        head,
        feature,
        key_feature,
        arg_max(value_score > 0, abs(value_score)) AS raises
    FROM rules
    WHERE layer = $layer AND method = $method AND rank <= $n_rules
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
        a.head = $head AND a.feature = $feature
        AND (b.head <> a.head OR b.feature <> a.feature)
    GROUP BY a.head, a.feature, b.head, b.feature
)

SELECT
    format('{}.{}', head_label($layer, s.other_head), s.other_feature) AS other_feature,
    s.n_shared,
    round(s.n_shared / (a.n_keys + b.n_keys - s.n_shared), 3) AS share_of_keys,
    i.description AS one_key,
    o.description AS active_at
FROM shared AS s
INNER JOIN sizes AS a ON s.head = a.head AND s.feature = a.feature
INNER JOIN sizes AS b ON s.other_head = b.head AND s.other_feature = b.feature
LEFT JOIN input_features AS i ON i.layer = $layer AND s.example_key = i.feature
LEFT JOIN output_features AS o ON o.layer = $layer AND s.other_head = o.head AND s.other_feature = o.feature
ORDER BY
    s.n_shared / (a.n_keys + b.n_keys - s.n_shared) DESC,
    s.n_shared DESC,
    s.other_head ASC,
    s.other_feature ASC
LIMIT $limit;
