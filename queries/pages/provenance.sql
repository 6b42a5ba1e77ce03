-- Grain: the model, with its corpus.
-- Reads: corpus, model, tokens
SELECT
    m.name,
    m.architecture,
    m.n_layers,
    m.n_heads,
    m.d_model,
    m.d_head,
    c.source,
    z.n_sequences,
    z.n_tokens
FROM model AS m
CROSS JOIN corpus AS c
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE pos = 0) AS n_sequences,
        count(*) AS n_tokens
    FROM tokens
) AS z;
