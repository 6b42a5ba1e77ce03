-- Ids lie within what the model and its SAEs have.
SELECT format('tokens: sequence {} position {} has token id {}', t.seq_id, t.pos, t.token_id) AS problem
FROM tokens AS t
CROSS JOIN model AS m
CROSS JOIN corpus AS c
WHERE t.token_id >= m.vocab_size OR t.pos >= c.seq_len
UNION ALL
SELECT
    format(
        'input_activations: layer {} feature {} at position {} does not exist', a.layer, a.feature, a.pos
    ) AS problem
FROM input_activations AS a
CROSS JOIN corpus AS c
LEFT JOIN saes AS s ON s.role = 'input' AND a.layer = s.layer
WHERE s.d_sae IS NULL OR a.feature >= s.d_sae OR a.pos >= c.seq_len
UNION ALL
SELECT
    format(
        'output_activations: L{}H{} feature {} at position {} does not exist', a.layer, a.head, a.feature, a.pos
    ) AS problem
FROM output_activations AS a
CROSS JOIN corpus AS c
LEFT JOIN saes AS s ON s.role = 'output' AND a.layer = s.layer AND a.head = s.head
WHERE s.d_sae IS NULL OR a.feature >= s.d_sae OR a.pos >= c.seq_len
UNION ALL
SELECT
    format(
        'attention_sources: L{}H{} sequence {} query {} key {} is not a causal pair of an ingested head',
        a.layer, a.head, a.seq_id, a.query_pos, a.key_pos
    ) AS problem
FROM attention_sources AS a
CROSS JOIN corpus AS c
LEFT JOIN heads AS h ON a.layer = h.layer AND a.head = h.head
WHERE h.layer IS NULL OR a.key_pos > a.query_pos OR a.query_pos >= c.seq_len
UNION ALL
SELECT format('saes: {} SAE of layer {} head {} does not exist in the model', s.role, s.layer, s.head) AS problem
FROM saes AS s
CROSS JOIN model AS m
WHERE s.layer >= m.n_layers OR coalesce(s.head, 0) >= m.n_heads;
