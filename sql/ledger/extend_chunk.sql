-- Grain of the update: a chunk that got the rows of further heads.
UPDATE chunks SET
    tokens = tokens + $tokens,
    input_activations = input_activations + $input_activations,
    output_activations = output_activations + $output_activations,
    attention_sources = attention_sources + $attention_sources,
    token_scales = token_scales + $token_scales,
    heads = list_concat(heads, $heads),
    run_id = $run_id
WHERE chunk_id = $chunk_id;
