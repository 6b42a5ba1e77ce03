-- Grain: a distance from query to key of a head, BOS and the first query position left out: its share of the stored
-- attention, with the entropy of the head. Over the first 1,024 sequences, so that a large warehouse answers as fast.
CREATE MACRO head_attention(of_layer, of_head) AS TABLE
WITH given (layer, head) AS (SELECT of_layer, of_head),

sources AS (
    SELECT
        a.seq_id,
        a.query_pos,
        a.key_pos,
        a.weight::DOUBLE AS weight
    FROM given AS g
    INNER JOIN main.attention_sources AS a ON g.layer = a.layer AND g.head = a.head
    WHERE a.seq_id < 1024 AND a.query_pos >= 2
),

-- What is not stored would add to it, so that this is a lower bound.
entropy AS (
    SELECT
        main.exact_sum(-weight * ln(weight)) / count(DISTINCT (seq_id, query_pos)) AS nats
    FROM sources
    WHERE weight > 0
)

SELECT
    (s.query_pos - s.key_pos)::INTEGER AS distance,
    main.exact_sum(s.weight) AS attention,
    main.exact_sum(s.weight) / sum(main.exact_sum(s.weight)) OVER () AS share,
    any_value(e.nats) AS entropy
FROM sources AS s
CROSS JOIN entropy AS e
WHERE s.key_pos > 0
GROUP BY s.query_pos - s.key_pos
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::INTEGER AS distance
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY distance;
COMMENT ON MACRO TABLE head_attention IS 'How far back a head looks, by distance, and the entropy of its attention in nats: FROM head_attention(layer, head)';
