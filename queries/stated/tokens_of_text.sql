-- Grain: a token of the vocabulary with one of the texts.
-- Reads: vocabulary
SELECT
    token,
    token_id
FROM vocabulary
WHERE token IN (SELECT unnest($texts::VARCHAR[]))
ORDER BY token, token_id;
