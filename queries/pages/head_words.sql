-- Grain: a token that several features of a head make the model say, by evidence other than the corpus alone.
-- Reads: output_words
SELECT
    token,
    count(*) AS n_features,
    list(feature ORDER BY feature)[:8] AS features
FROM output_words
WHERE layer = $layer AND head = $head AND evidence <> 'in the corpus alone'
GROUP BY token
HAVING count(*) > 1
ORDER BY n_features DESC, token ASC
LIMIT 12;
