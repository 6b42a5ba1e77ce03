-- Grain: an output feature that fires, whose tokens, words or first stated rule hold a text, whatever its case; those that
-- fire in most sequences first.
-- Reads: output_features, rule_right_sides, stated_rules
SELECT
    head_label(f.layer, f.head) AS head_name,
    f.feature,
    f.description,
    n.says,
    s.statement,
    f.n_tokens
FROM output_features AS f
LEFT JOIN rule_right_sides AS n ON f.layer = n.layer AND f.head = n.head AND f.feature = n.feature
LEFT JOIN stated_rules AS s ON f.layer = s.layer AND f.head = s.head AND f.feature = s.feature AND s.rank = 1
WHERE
    f.n_tokens > 0
    AND contains(lower(concat_ws(' ', f.description, n.says, s.statement)), lower($text))
ORDER BY f.n_sequences DESC, f.layer ASC, f.head ASC, f.feature ASC
LIMIT 100;
