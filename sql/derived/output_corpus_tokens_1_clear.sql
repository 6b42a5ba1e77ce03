-- Grain of the deletion: every row of $layer.
-- Writes: output_corpus_tokens
DELETE FROM output_corpus_tokens
WHERE layer = $layer;
