-- Grain: a run of skip-gram mining and a method whose lists of it are not judged now. Where it drew otherwise than is drawn
-- now, what they have learnt from may be what they would be judged on (method.md section 4.5); those of $learn_nothing have
-- learnt from nothing. Keys at BOS may have counted otherwise, for any method. Sequences that were added since are drawn
-- from as well. What a run does not say is no difference.
-- Reads: methods, runs
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
),

differing AS (
    SELECT
        run_id,
        (arguments ->> '$.bos_keys')::BOOLEAN <> $bos_keys AS counts_otherwise,
        (arguments ->> '$.seed')::BIGINT <> $seed
        OR 3 * (arguments ->> '$.examples_per_split')::BIGINT <> $n_per_label
        OR n_sequences <> n_sequences_now
        OR NOT list_has_all((arguments -> '$.example_sets')::VARCHAR[], $drawn_sets) AS drew_otherwise
    FROM numbered
    WHERE command = 'mine skipgrams'
)

SELECT
    d.run_id,
    m.method
FROM differing AS d
INNER JOIN methods AS m
    ON d.counts_otherwise OR (d.drew_otherwise AND NOT list_contains($learn_nothing::VARCHAR[], m.method));
