-- Features of a head that look at earlier copies of their token, or at the token after one (induction).
-- Group: features of a head
-- $layer = 0: layer of the head
-- $head = 0: the head; -1 for an SAE over the whole layer, of which each head is a row
-- $after = 0: 0 for the copies themselves, 1 for the token after each
-- $n_sequences = 200: sequences of the corpus that are looked at, the first ones
-- $limit = 20: number of features
WITH read AS (
    SELECT DISTINCT through_head
    FROM feature_heads
    WHERE layer = $layer AND head = $head
),

copies AS (
    SELECT
        q.seq_id,
        q.pos,
        k.pos + $after AS key_pos
    FROM tokens AS q
    INNER JOIN tokens AS k ON q.seq_id = k.seq_id AND q.token_id = k.token_id AND q.pos > k.pos
    WHERE k.pos > 0 AND q.seq_id < $n_sequences
),

attended AS (
    SELECT
        r.through_head,
        c.seq_id,
        c.pos,
        exact_sum(coalesce(a.weight, 0)) AS weight
    FROM copies AS c
    CROSS JOIN read AS r
    LEFT JOIN attention_sources AS a
        ON
            a.layer = $layer AND r.through_head = a.head
            AND c.seq_id = a.seq_id AND c.pos = a.query_pos AND c.key_pos = a.key_pos
    GROUP BY r.through_head, c.seq_id, c.pos
),

everywhere AS (
    SELECT
        through_head,
        exact_sum(weight) / count(*) AS attention
    FROM attended
    GROUP BY through_head
),

active AS (
    SELECT
        y.feature,
        r.through_head,
        count(*) AS n_positions,
        count(d.weight) AS n_with_copy,
        exact_sum(d.weight) / count(d.weight) AS attention
    FROM output_activations AS y
    CROSS JOIN read AS r
    LEFT JOIN attended AS d ON r.through_head = d.through_head AND y.seq_id = d.seq_id AND y.pos = d.pos
    WHERE y.layer = $layer AND y.head = $head AND y.pos > 0 AND y.seq_id < $n_sequences
    GROUP BY y.feature, r.through_head
)

SELECT
    format('{}.{}', head_label($layer, $head), a.feature) AS feature,
    a.n_positions,
    round(a.n_with_copy / a.n_positions, 3) AS share_with_copy,
    round(a.attention, 3) AS attention,
    round(e.attention, 3) AS attention_everywhere,
    f.description,
    a.through_head
FROM active AS a
INNER JOIN everywhere AS e ON a.through_head = e.through_head
INNER JOIN output_features AS f ON f.layer = $layer AND f.head = $head AND a.feature = f.feature
WHERE a.n_with_copy >= 20
ORDER BY a.attention DESC, a.feature ASC, a.through_head ASC
LIMIT $limit;
