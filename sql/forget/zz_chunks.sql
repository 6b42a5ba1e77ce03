-- Grain of the update: a chunk. Last: it counts what is left. Of the head, the attention is still stored.
-- Reads: output_activations
-- Writes: chunks
UPDATE chunks SET
    output_activations = (
        SELECT count(*)
        FROM output_activations AS a
        WHERE a.seq_id >= chunks.first_seq AND a.seq_id < chunks.first_seq + chunks.n_seqs
    ),
    heads = list_transform(
        heads,
        LAMBDA held: CASE
            WHEN held = head_label($layer, $head) THEN held || ':attention'
            ELSE held
        END
    )
WHERE list_contains(heads, head_label($layer, $head));
