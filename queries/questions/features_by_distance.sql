-- Features of a head by how far back it looks where they are active: look for distance 1, the previous token.
-- Group: features of a head
-- $layer = 0: layer of the head
-- $head = 0: the head
-- $distance = 1: tokens from query back to key
-- $n_sequences = 200: sequences of the corpus that are looked at, the first ones
-- $limit = 20: number of features
WITH at_distance AS (
    SELECT
        seq_id,
        query_pos AS pos,
        weight
    FROM attention_sources
    WHERE
        layer = $layer AND head = $head AND query_pos - key_pos = $distance
        AND key_pos > 0 AND seq_id < $n_sequences
),

active AS (
    SELECT
        a.feature,
        count(*) AS n_positions,
        exact_sum(coalesce(d.weight, 0)) / count(*) AS attention
    FROM output_activations AS a
    LEFT JOIN at_distance AS d ON a.seq_id = d.seq_id AND a.pos = d.pos
    WHERE a.layer = $layer AND a.head = $head AND a.pos > $distance AND a.seq_id < $n_sequences
    GROUP BY a.feature
),

everywhere AS (
    SELECT exact_sum(coalesce(d.weight, 0)) / count(*) AS attention
    FROM tokens AS t
    LEFT JOIN at_distance AS d ON t.seq_id = d.seq_id AND t.pos = d.pos
    WHERE t.pos > $distance AND t.seq_id < $n_sequences
)

SELECT
    format('{}.{}', head_label($layer, $head), a.feature) AS feature,
    a.n_positions,
    round(a.attention, 3) AS attention,
    round(e.attention, 3) AS attention_everywhere,
    f.description
FROM active AS a
CROSS JOIN everywhere AS e
INNER JOIN output_features AS f ON f.layer = $layer AND f.head = $head AND a.feature = f.feature
WHERE a.n_positions >= 20
ORDER BY a.attention DESC, a.feature ASC
LIMIT $limit;
