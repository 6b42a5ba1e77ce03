-- What features say is stored once, in order, of features and tokens that exist.
-- Reads: model, output_corpus_tokens, output_effects, output_features, output_tests, output_token_tests, output_tokens,
--   rule_right_sides
WITH ranked AS (
    SELECT
        'output_tokens' AS name,
        layer,
        head,
        feature,
        side,
        rank,
        token_id,
        CASE side WHEN 'promoted' THEN effect ELSE -effect END AS strength
    FROM output_tokens
    UNION ALL
    SELECT
        'output_corpus_tokens' AS name,
        layer,
        head,
        feature,
        'promoted' AS side,
        rank,
        token_id,
        log_odds_low AS strength
    FROM output_corpus_tokens
)

SELECT format('{}: L{}H{}.{} {} rank {} is out of order', name, layer, head, feature, side, rank) AS problem
FROM ranked
QUALIFY
    rank <> row_number() OVER (PARTITION BY name, layer, head, feature, side ORDER BY strength DESC, token_id ASC)
    OR strength <= 0
UNION ALL
SELECT format('{}: L{}H{}.{} has token id {}', r.name, r.layer, r.head, r.feature, r.token_id) AS problem
FROM ranked AS r
CROSS JOIN model AS m
WHERE r.token_id NOT BETWEEN 0 AND m.vocab_size - 1
UNION ALL
SELECT format('{}: L{}H{}.{} is stored {} times', name, layer, head, feature, count(*)) AS problem
FROM (
    SELECT
        'output_effects' AS name,
        layer,
        head,
        feature
    FROM output_effects
    UNION ALL
    SELECT
        'output_tests' AS name,
        layer,
        head,
        feature
    FROM output_tests
    UNION ALL
    SELECT
        'rule_right_sides' AS name,
        layer,
        head,
        feature
    FROM rule_right_sides
) AS of_features
GROUP BY name, layer, head, feature
HAVING count(*) > 1
UNION ALL
SELECT format('output_token_tests: L{}H{}.{} token {} has no test', layer, head, feature, token_id) AS problem
FROM output_token_tests
ANTI JOIN output_tests USING (layer, head, feature)
UNION ALL
SELECT format('output_effects: L{}H{}.{} is no output feature', layer, head, feature) AS problem
FROM output_effects
ANTI JOIN output_features USING (layer, head, feature);
