-- Grain of the deletion: every row.
-- Writes: output_corpus_tokens
DELETE FROM output_corpus_tokens;
