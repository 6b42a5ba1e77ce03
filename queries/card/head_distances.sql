-- Grain: a distance from query to key, BOS left out: its share of the attention that one head pays to other keys.
-- Reads: attention_sources
SELECT
    query_pos - key_pos AS distance,
    exact_sum(weight::DOUBLE) / sum(exact_sum(weight::DOUBLE)) OVER () AS share
FROM attention_sources
WHERE layer = $layer AND head = $head AND query_pos >= 2 AND key_pos > 0
GROUP BY ALL
ORDER BY share DESC, distance ASC
LIMIT 6;
