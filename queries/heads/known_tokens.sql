-- Grain: a token of the vocabulary that has this text, with spaces around it or without; of many the shortest.
-- Reads: vocabulary
SELECT DISTINCT token
FROM vocabulary
WHERE token = $token OR (trim(token) = trim($token) AND trim($token) <> '')
ORDER BY token = $token DESC, length(token) ASC, token ASC
LIMIT 3;
