-- Ids lie within what the model and its SAEs have.
-- Reads: attention_sources, corpus, heads, input_activations, model, output_activations, saes, tokens
SELECT format('tokens: sequence {} position {} has token id {}', t.seq_id, t.pos, t.token_id) AS problem
FROM tokens AS t
CROSS JOIN model AS m
CROSS JOIN corpus AS c
WHERE t.token_id NOT BETWEEN 0 AND m.vocab_size - 1 OR t.pos NOT BETWEEN 0 AND c.seq_len - 1 OR t.seq_id < 0
UNION ALL
SELECT
    format(
        'input_activations: layer {} feature {} at position {} does not exist', a.layer, a.feature, a.pos
    ) AS problem
FROM input_activations AS a
CROSS JOIN corpus AS c
LEFT JOIN saes AS s ON s.role = 'input' AND a.layer = s.layer
WHERE s.d_sae IS NULL OR a.feature NOT BETWEEN 0 AND s.d_sae - 1 OR a.pos NOT BETWEEN 0 AND c.seq_len - 1
UNION ALL
SELECT
    format(
        'output_activations: {} feature {} at position {} does not exist', head_label(a.layer, a.head), a.feature, a.pos
    ) AS problem
FROM output_activations AS a
CROSS JOIN corpus AS c
LEFT JOIN saes AS s ON s.role = 'output' AND a.layer = s.layer AND a.head = s.head
WHERE s.d_sae IS NULL OR a.feature NOT BETWEEN 0 AND s.d_sae - 1 OR a.pos NOT BETWEEN 0 AND c.seq_len - 1
UNION ALL
SELECT
    format(
        'attention_sources: {} sequence {} query {} key {} is not a causal pair of an ingested head',
        head_label(a.layer, a.head), a.seq_id, a.query_pos, a.key_pos
    ) AS problem
FROM attention_sources AS a
CROSS JOIN corpus AS c
LEFT JOIN heads AS h ON a.layer = h.layer AND a.head = h.head
WHERE h.layer IS NULL OR a.key_pos NOT BETWEEN 0 AND a.query_pos OR a.query_pos >= c.seq_len
UNION ALL
SELECT format('saes: {} SAE of layer {} head {} does not exist in the model', s.role, s.layer, s.head) AS problem
FROM saes AS s
CROSS JOIN model AS m
WHERE s.layer NOT BETWEEN 0 AND m.n_layers - 1 OR coalesce(s.head, 0) NOT BETWEEN -1 AND m.n_heads - 1;
