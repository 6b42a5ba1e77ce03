-- Grain: a token that stands somewhere after BOS.
-- Reads: tokens
SELECT
    token_id,
    count(*) AS n
FROM tokens
WHERE pos > 0
GROUP BY token_id
ORDER BY token_id;
