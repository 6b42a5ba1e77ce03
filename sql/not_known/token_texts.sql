-- Grain: the warehouse, where tokens do not have their own text.
SELECT
    format(
        'the text of {} tokens that are parts of characters or several spaces: they are shown as U+FFFD or with ▁; ingest'
        || ' into a new file to have it',
        count(*)
    ) AS words
FROM vocabulary
WHERE token_bytes IS NULL AND (contains(token, chr(65533)) OR contains(token, '▁'))
HAVING count(*) > 0;
