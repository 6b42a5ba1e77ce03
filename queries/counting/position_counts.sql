-- Grain: a candidate rule and a position in the sequence, over the train half.
-- Reads: count_positions
SELECT
    p.feature,
    p.pair,
    p.pos,
    count(*) AS n_positions,
    count(*) FILTER (WHERE p.activation > 0) AS n_active
FROM (
    SELECT
        unnest($features::INTEGER[]) AS feature,
        unnest($pairs::INTEGER[]) AS pair
) AS c
INNER JOIN count_positions AS p ON c.feature = p.feature AND c.pair = p.pair
WHERE p.split = 'train'
GROUP BY p.feature, p.pair, p.pos
ORDER BY p.feature, p.pair, p.pos;
