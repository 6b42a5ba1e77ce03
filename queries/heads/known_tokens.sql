-- Grain: a token of the vocabulary that has this text, with spaces around it or without.
-- Reads: vocabulary
SELECT DISTINCT token
FROM vocabulary
WHERE trim(token) = trim($token)
ORDER BY token;
