-- Grain: a feature of a page and one of the eight of its layer whose first rules share most keys with its own: the same that
-- the question related_features finds.
-- Reads: input_features, output_features
SELECT
    s.feature,
    head_label($layer, s.other_head) AS other_head,
    s.other_feature,
    s.n_shared,
    s.share_of_keys,
    i.description AS one_key,
    o.description
FROM shared_keys($layer, $method, 16) AS s
LEFT JOIN input_features AS i ON i.layer = $layer AND s.example_key = i.feature
LEFT JOIN output_features AS o ON o.layer = $layer AND s.other_head = o.head AND s.other_feature = o.feature
WHERE s.head = $head AND s.feature IN (SELECT unnest($features::INTEGER[]) AS feature)
QUALIFY
    row_number() OVER (
        PARTITION BY s.feature
        ORDER BY s.share_of_keys DESC, s.n_shared DESC, s.other_head ASC, s.other_feature ASC
    ) <= 8
ORDER BY s.feature ASC, s.share_of_keys DESC, s.n_shared DESC, s.other_head ASC, s.other_feature ASC;
