-- Grain: a run of skip-gram mining that drew otherwise than is drawn now: what its lists have learnt from may be what they
-- would be judged on (method.md section 4.5), and keys at BOS may have counted otherwise. What a run does not say is no
-- difference.
-- Reads: runs
-- Makes: other_runs
CREATE OR REPLACE TEMP TABLE other_runs AS
SELECT run_id
FROM runs
WHERE
    command = 'mine skipgrams'
    AND (
        (arguments ->> '$.seed')::BIGINT <> $seed
        OR 3 * (arguments ->> '$.examples_per_split')::BIGINT <> $n_per_label
        OR (arguments ->> '$.bos_keys')::BOOLEAN <> $bos_keys
        OR NOT list_has_all((arguments -> '$.example_sets')::VARCHAR[], $drawn_sets)
    );
