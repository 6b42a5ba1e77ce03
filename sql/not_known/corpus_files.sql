-- Grain: the warehouse, where the files that the corpus was read from were not recorded.
SELECT
    format(
        'which files of {} were read: that they have changed since cannot be noticed when an ingest goes on; ingest into a'
        || ' new file to have it recorded',
        source
    ) AS words
FROM corpus
WHERE
    special_tokens IS NULL
    AND EXISTS (SELECT 1 FROM chunks)
    AND NOT EXISTS (SELECT 1 FROM corpus_files);
