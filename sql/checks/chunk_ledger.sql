-- Every chunk holds as many rows of each table as its ledger row says.
-- Reads: attention_sources, chunks, input_activations, output_activations, token_scales, tokens
WITH stored AS (
    SELECT
        seq_id,
        'tokens' AS table_name,
        count(*) AS n
    FROM tokens
    GROUP BY seq_id
    UNION ALL
    SELECT
        seq_id,
        'input_activations' AS table_name,
        count(*) AS n
    FROM input_activations
    GROUP BY seq_id
    UNION ALL
    SELECT
        seq_id,
        'output_activations' AS table_name,
        count(*) AS n
    FROM output_activations
    GROUP BY seq_id
    UNION ALL
    SELECT
        seq_id,
        'attention_sources' AS table_name,
        count(*) AS n
    FROM attention_sources
    GROUP BY seq_id
    UNION ALL
    SELECT
        seq_id,
        'token_scales' AS table_name,
        count(*) AS n
    FROM token_scales
    GROUP BY seq_id
),

ledger AS (
    UNPIVOT (
        SELECT
            chunk_id,
            first_seq,
            n_seqs,
            tokens,
            input_activations,
            output_activations,
            attention_sources,
            token_scales
        FROM chunks
    )
    ON tokens, input_activations, output_activations, attention_sources, token_scales
    INTO NAME table_name VALUE n
),

-- Chunks do not overlap, so that a sequence belongs to the last one that begins at or before it, or to none.
placed AS (
    SELECT
        s.table_name,
        s.seq_id,
        s.n,
        CASE WHEN c.first_seq + c.n_seqs > s.seq_id THEN c.chunk_id END AS chunk_id
    FROM stored AS s
    ASOF LEFT JOIN chunks AS c ON s.seq_id >= c.first_seq
),

counted AS (
    SELECT
        l.chunk_id,
        l.table_name,
        l.n AS expected,
        coalesce(sum(p.n), 0) AS found
    FROM ledger AS l
    LEFT JOIN placed AS p ON l.table_name = p.table_name AND l.chunk_id = p.chunk_id
    GROUP BY l.chunk_id, l.table_name, l.n
)

SELECT format('chunk {}: {} has {} rows, the ledger says {}', chunk_id, table_name, found, expected) AS problem
FROM counted
WHERE found <> expected
UNION ALL
SELECT format('{}: {} rows of sequence {} belong to no chunk', table_name, n, seq_id) AS problem
FROM placed
WHERE chunk_id IS NULL;
