-- Grain of the update: a chunk of a copy that has some layers and heads alone, lists of their numbers as texts. NULL: all.
-- Reads: digests
-- Writes: chunks
UPDATE chunks SET
    input_activations = (
        SELECT coalesce(sum(n_rows), 0)
        FROM digests AS d
        WHERE d.table_name = 'input_activations' AND d.chunk_id = chunks.chunk_id
    ),
    output_activations = (
        SELECT coalesce(sum(n_rows), 0)
        FROM digests AS d
        WHERE d.table_name = 'output_activations' AND d.chunk_id = chunks.chunk_id
    ),
    attention_sources = (
        SELECT coalesce(sum(n_rows), 0)
        FROM digests AS d
        WHERE d.table_name = 'attention_sources' AND d.chunk_id = chunks.chunk_id
    ),
    token_scales = (
        SELECT coalesce(sum(n_rows), 0)
        FROM digests AS d
        WHERE d.table_name = 'token_scales' AND d.chunk_id = chunks.chunk_id
    ),
    heads = list_filter(
        heads,
        LAMBDA held: coalesce(list_contains($layers, regexp_extract(held, '^L(\d+)', 1)), TRUE)
        AND coalesce(list_contains($heads, regexp_extract(held, 'H(\d+)', 1)), TRUE)
    );
