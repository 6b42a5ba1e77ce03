-- What fires where a text ends: output features active there, in how many of its occurrences.
-- Group: tokens and text
-- $text = " import": the text, spaces included
-- $limit = 20: number of features
WITH places AS (
    SELECT
        seq_id,
        pos
    FROM text_search($text)
),

size AS (
    SELECT count(*) AS n_places
    FROM places
)

SELECT
    format('{}.{}', head_label(y.layer, y.head), y.feature) AS feature,
    count(*) AS n_active,
    any_value(s.n_places) AS n_places,
    round(exact_sum(y.activation) / count(*), 3) AS mean_activation,
    round(count(*) / any_value(s.n_places) / (any_value(f.n_tokens) / any_value(z.n_positions)), 1) AS lift,
    any_value(f.description) AS description
FROM output_activations AS y
INNER JOIN places AS p ON y.seq_id = p.seq_id AND y.pos = p.pos
INNER JOIN output_features AS f ON y.layer = f.layer AND y.head = f.head AND y.feature = f.feature
CROSS JOIN size AS s
CROSS JOIN (SELECT count(*) AS n_positions FROM tokens) AS z
GROUP BY y.layer, y.head, y.feature
ORDER BY n_active DESC, lift DESC, y.layer ASC, y.head ASC, y.feature ASC
LIMIT $limit;
