-- Every chunk holds as many rows of each table as its ledger row says.
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

counted AS (
    SELECT
        l.chunk_id,
        l.table_name,
        l.n AS expected,
        coalesce(sum(s.n), 0) AS found
    FROM ledger AS l
    LEFT JOIN stored AS s
        ON
            l.table_name = s.table_name
            AND l.first_seq <= s.seq_id
            AND l.first_seq + l.n_seqs > s.seq_id
    GROUP BY l.chunk_id, l.table_name, l.n
)

SELECT format('chunk {}: {} has {} rows, the ledger says {}', chunk_id, table_name, found, expected) AS problem
FROM counted
WHERE found <> expected
UNION ALL
SELECT format('{}: {} rows of sequence {} belong to no chunk', s.table_name, s.n, s.seq_id) AS problem
FROM stored AS s
WHERE
    NOT EXISTS (
        SELECT 1
        FROM chunks AS c
        WHERE c.first_seq <= s.seq_id AND c.first_seq + c.n_seqs > s.seq_id
    );
