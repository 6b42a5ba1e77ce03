-- Grain: a token whose text no other token has.
-- Reads: vocabulary
SELECT
    min(token_id) AS token_id,
    token
FROM vocabulary
GROUP BY token
HAVING count(*) = 1;
