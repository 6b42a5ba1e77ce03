-- Grain: a run of skip-gram mining that drew otherwise than is drawn now: what its lists have learnt from may be what they
-- would be judged on (method.md section 4.5), and keys at BOS may have counted otherwise. Sequences that were added since
-- are drawn from as well. What a run does not say is no difference.
-- Reads: runs
-- Makes: other_runs
CREATE OR REPLACE TEMP TABLE other_runs AS
WITH numbered AS (
    SELECT
        run_id,
        command,
        arguments,
        -- Of this run and those before it.
        max(CASE WHEN command = 'ingest' THEN (arguments ->> '$.n_sequences')::BIGINT END)
            OVER (ORDER BY run_id) AS n_sequences,
        max(CASE WHEN command = 'ingest' THEN (arguments ->> '$.n_sequences')::BIGINT END) OVER () AS n_sequences_now
    FROM runs
    WHERE status = 'done' OR command <> 'ingest'
)

SELECT run_id
FROM numbered
WHERE
    command = 'mine skipgrams'
    AND (
        (arguments ->> '$.seed')::BIGINT <> $seed
        OR 3 * (arguments ->> '$.examples_per_split')::BIGINT <> $n_per_label
        OR (arguments ->> '$.bos_keys')::BOOLEAN <> $bos_keys
        OR n_sequences <> n_sequences_now
        OR NOT list_has_all((arguments -> '$.example_sets')::VARCHAR[], $drawn_sets)
    );
