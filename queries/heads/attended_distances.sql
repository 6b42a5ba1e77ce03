-- Grain: a distance at which a head attends, most attended first: the fewest that together hold half of its stored
-- attention to keys, at most $n_most (method.md section 2.4).
-- Reads: attention_sources
WITH by_distance AS (
    SELECT
        query_pos - key_pos AS distance,
        sum(exact_units(weight)) AS attention
    FROM attention_sources
    WHERE layer = $layer AND head = $head AND (key_pos > 0 OR $bos_keys)
    GROUP BY query_pos - key_pos
    HAVING sum(exact_units(weight)) > 0
),

ranked AS (
    SELECT
        distance,
        sum(attention) OVER most_first - attention AS before,
        sum(attention) OVER () AS total,
        row_number() OVER most_first AS place
    FROM by_distance
    WINDOW most_first AS (ORDER BY attention DESC, distance ASC ROWS UNBOUNDED PRECEDING)
)

SELECT distance
FROM ranked
WHERE place <= $n_most AND 2 * before < total
ORDER BY place;
