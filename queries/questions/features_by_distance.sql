-- Features of a head by how far back it looks where they are active: look for distance 1, the previous token.
-- Group: features of a head
-- $layer = 0: layer of the head
-- $head = 0: the head; -1 for an SAE over the whole layer, of which each head is a row
-- $distance = 1: tokens from query back to key
-- $n_sequences = 200: sequences of the corpus that are looked at, the first ones
-- $limit = 20: number of features
WITH read AS (
    SELECT DISTINCT through_head
    FROM feature_heads
    WHERE layer = $layer AND head = $head
),

at_distance AS (
    SELECT
        head AS through_head,
        seq_id,
        query_pos AS pos,
        weight
    FROM attention_sources
    WHERE layer = $layer AND query_pos - key_pos = $distance AND key_pos > 0 AND seq_id < $n_sequences
),

active AS (
    SELECT
        a.feature,
        r.through_head,
        count(*) AS n_positions,
        exact_sum(coalesce(d.weight, 0)) / count(*) AS attention
    FROM output_activations AS a
    CROSS JOIN read AS r
    LEFT JOIN at_distance AS d ON r.through_head = d.through_head AND a.seq_id = d.seq_id AND a.pos = d.pos
    WHERE a.layer = $layer AND a.head = $head AND a.pos > $distance AND a.seq_id < $n_sequences
    GROUP BY a.feature, r.through_head
),

everywhere AS (
    SELECT
        r.through_head,
        exact_sum(coalesce(d.weight, 0)) / count(*) AS attention
    FROM tokens AS t
    CROSS JOIN read AS r
    LEFT JOIN at_distance AS d ON r.through_head = d.through_head AND t.seq_id = d.seq_id AND t.pos = d.pos
    WHERE t.pos > $distance AND t.seq_id < $n_sequences
    GROUP BY r.through_head
)

SELECT
    format('{}.{}', head_label($layer, $head), a.feature) AS feature,
    a.n_positions,
    round(a.attention, 3) AS attention,
    round(e.attention, 3) AS attention_everywhere,
    f.description,
    a.through_head
FROM active AS a
INNER JOIN everywhere AS e ON a.through_head = e.through_head
INNER JOIN output_features AS f ON f.layer = $layer AND f.head = $head AND a.feature = f.feature
WHERE a.n_positions >= 20
ORDER BY a.attention DESC, a.feature ASC, a.through_head ASC
LIMIT $limit;
