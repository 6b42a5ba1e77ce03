-- Grain of the update: a chunk that got the rows of further heads, or the output features of a new SAE.
-- Writes: chunks
UPDATE chunks SET
    tokens = tokens + $tokens,
    input_activations = input_activations + $input_activations,
    output_activations = output_activations + $output_activations,
    attention_sources = attention_sources + $attention_sources,
    token_scales = token_scales + $token_scales,
    heads = $heads,
    run_id = $run_id
WHERE chunk_id = $chunk_id;
