-- Output features that make the model say a token, strongest evidence first.
-- Group: tokens and text
-- $token = " the": the token, its space included
-- $limit = 20: number of features
SELECT
    format('{}.{}', head_label(w.layer, w.head), w.feature) AS feature,
    w.evidence,
    w.place,
    round(w.raise, 3) AS raise,
    round(w.log_odds, 3) AS log_odds,
    round(w.effect, 3) AS effect,
    f.description
FROM output_words AS w
INNER JOIN output_features AS f ON w.layer = f.layer AND w.head = f.head AND w.feature = f.feature
WHERE w.token = $token
ORDER BY
    w.raise DESC NULLS LAST, w.in_corpus AND w.by_weights DESC, w.place ASC, w.log_odds DESC NULLS LAST, w.layer ASC,
    w.head ASC, w.feature ASC
LIMIT $limit;
