-- Which heads attend from one token to another, and how much more than their attention at like distances.
-- Group: heads
-- $query_token = ")": the token that attends, its space included
-- $key_token = "(": the token attended to
-- $n_sequences = 200: sequences of the corpus that are looked at, the first ones
-- $limit = 20: number of heads
WITH pairs AS (
    SELECT
        q.seq_id,
        q.pos AS query_pos,
        k.pos AS key_pos
    FROM tokens AS q
    INNER JOIN tokens AS k ON q.seq_id = k.seq_id AND q.pos >= k.pos
    WHERE
        q.token_id IN (SELECT v.token_id FROM vocabulary AS v WHERE v.token = $query_token)
        AND k.token_id IN (SELECT v.token_id FROM vocabulary AS v WHERE v.token = $key_token)
        AND k.pos > 0 AND q.seq_id < $n_sequences
),

by_distance AS (
    SELECT
        layer,
        head,
        query_pos - key_pos AS distance,
        exact_sum(weight) AS attention
    FROM attention_sources
    WHERE key_pos > 0 AND seq_id < $n_sequences
    GROUP BY layer, head, query_pos - key_pos
),

distances AS (
    SELECT
        query_pos - key_pos AS distance,
        count(*) AS n_pairs
    FROM pairs
    GROUP BY query_pos - key_pos
),

of_distance AS (
    SELECT
        d.distance,
        count(*) AS n_positions
    FROM distances AS d
    INNER JOIN tokens AS t ON d.distance < t.pos
    WHERE t.seq_id < $n_sequences
    GROUP BY d.distance
),

control AS (
    SELECT
        b.layer,
        b.head,
        exact_sum(b.attention / o.n_positions * d.n_pairs) / exact_sum(d.n_pairs) AS attention
    FROM distances AS d
    INNER JOIN of_distance AS o ON d.distance = o.distance
    INNER JOIN by_distance AS b ON d.distance = b.distance
    GROUP BY b.layer, b.head
),

attended AS (
    SELECT
        a.layer,
        a.head,
        exact_sum(a.weight) AS attention
    FROM pairs AS p
    INNER JOIN attention_sources AS a
        ON p.seq_id = a.seq_id AND p.query_pos = a.query_pos AND p.key_pos = a.key_pos
    GROUP BY a.layer, a.head
)

SELECT
    head_label(h.layer, h.head) AS head,
    z.n_pairs,
    round(coalesce(a.attention, 0) / z.n_pairs, 4) AS attention,
    round(c.attention, 4) AS attention_at_like_distances,
    round(coalesce(a.attention, 0) / z.n_pairs / nullif(c.attention, 0), 2) AS times
FROM heads AS h
CROSS JOIN (SELECT count(*) AS n_pairs FROM pairs) AS z
LEFT JOIN attended AS a ON h.layer = a.layer AND h.head = a.head
LEFT JOIN control AS c ON h.layer = c.layer AND h.head = c.head
WHERE z.n_pairs > 0
ORDER BY times DESC NULLS LAST, h.layer ASC, h.head ASC
LIMIT $limit;
