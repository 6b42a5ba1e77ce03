-- Features of two heads with like rules: those that share most keys among the first rules.
-- Group: features of a head
-- $layer = 0: layer of both heads
-- $head = 0: one head
-- $other_head = 1: the other head, or the same
-- $method = "weighted": how the rules were found
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of pairs of features
WITH listed AS (
    SELECT
        head,
        feature,
        key_feature,
        arg_max(value_score > 0, abs(value_score)) AS raises
    FROM rules
    WHERE layer = $layer AND head IN ($head, $other_head) AND method = $method AND rank <= $n_rules
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
        a.feature,
        b.feature AS other,
        count(*) AS n_shared,
        arg_min(a.key_feature, a.key_feature) AS example_key
    FROM listed AS a
    INNER JOIN listed AS b ON a.key_feature = b.key_feature AND a.raises = b.raises
    WHERE a.head = $head AND b.head = $other_head AND ($head <> $other_head OR a.feature < b.feature)
    GROUP BY a.feature, b.feature
)

SELECT
    format('{}.{}', head_label($layer, $head), s.feature) AS feature,
    format('{}.{}', head_label($layer, $other_head), s.other) AS other_feature,
    s.n_shared,
    round(s.n_shared / (a.n_keys + b.n_keys - s.n_shared), 3) AS share_of_keys,
    i.description AS one_key
FROM shared AS s
INNER JOIN sizes AS a ON a.head = $head AND s.feature = a.feature
INNER JOIN sizes AS b ON b.head = $other_head AND s.other = b.feature
LEFT JOIN input_features AS i ON i.layer = $layer AND s.example_key = i.feature
ORDER BY share_of_keys DESC, s.n_shared DESC, s.feature ASC, s.other ASC
LIMIT $limit;
