-- Grain of the insertion: an output feature of $layer, $head.
-- Reads: output_effects, output_features, output_words, unembedding
-- Writes: rule_right_sides
WITH said AS (
    SELECT
        feature,
        string_agg(token_label(token), ', ' ORDER BY place) AS says,
        any_value(evidence) AS evidence
    FROM output_words
    WHERE layer = $layer AND head = $head AND place <= 3
    GROUP BY feature
)

INSERT INTO rule_right_sides BY NAME
SELECT
    f.layer,
    f.head,
    f.feature,
    s.says,
    CASE
        WHEN s.says IS NOT NULL THEN s.evidence
        WHEN u.status <> 'usable' THEN u.status
        WHEN e.feature IS NULL THEN 'not known'
        ELSE 'says nothing'
    END AS evidence
FROM output_features AS f
LEFT JOIN said AS s ON f.feature = s.feature
LEFT JOIN output_effects AS e ON f.layer = e.layer AND f.head = e.head AND f.feature = e.feature
LEFT JOIN unembedding AS u ON TRUE
WHERE f.layer = $layer AND f.head = $head
ORDER BY f.layer, f.head, f.feature;
