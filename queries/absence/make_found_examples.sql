-- Grain: a sequence in which a case's key and then its query occur (method.md section 6.2), limited to a seeded draw of
-- $max_examples of each kind; n_of_kind counts all of them. All cases of a head at once.
-- Reads: input_activations, output_activations
-- Makes: found_examples
CREATE OR REPLACE TEMP TABLE found_examples AS
WITH cases AS (
    SELECT
        unnest($features::INTEGER[]) AS feature,
        unnest($pairs::INTEGER[]) AS pair,
        unnest($keys::INTEGER[]) AS key_feature,
        unnest($queries::INTEGER[]) AS query_feature,
        unnest($distractors::INTEGER[]) AS distractor_feature
),

-- Several features share a key and a query, so their sequences are looked up once.
key_queries AS (
    SELECT DISTINCT
        key_feature,
        query_feature
    FROM cases
),

triples AS (
    SELECT DISTINCT
        key_feature,
        query_feature,
        distractor_feature
    FROM cases
),

active AS MATERIALIZED (
    SELECT
        feature,
        seq_id,
        pos,
        activation
    FROM input_activations
    SEMI JOIN (
        SELECT key_feature AS feature FROM cases
        UNION
        SELECT query_feature AS feature FROM cases
        UNION
        SELECT distractor_feature AS feature FROM cases
    ) AS named USING (feature)
    WHERE layer = $layer AND (pos > 0 OR $bos_keys)
),

keys AS (
    SELECT
        feature,
        seq_id,
        min(pos) AS pos,
        arg_min(activation, pos) AS activation
    FROM active
    SEMI JOIN key_queries ON active.feature = key_queries.key_feature
    GROUP BY feature, seq_id
),

queries AS MATERIALIZED (
    SELECT
        c.key_feature,
        c.query_feature,
        k.seq_id,
        k.pos AS key_pos,
        k.activation AS key_activation,
        min(a.pos) AS query_pos,
        arg_min(a.activation, a.pos) AS query_activation
    FROM key_queries AS c
    INNER JOIN keys AS k ON c.key_feature = k.feature
    INNER JOIN active AS a ON c.query_feature = a.feature AND k.seq_id = a.seq_id AND k.pos <= a.pos
    GROUP BY c.key_feature, c.query_feature, k.seq_id, k.pos, k.activation
),

distracted AS (
    SELECT
        t.key_feature,
        t.query_feature,
        t.distractor_feature,
        q.seq_id,
        min(a.pos) AS distractor_pos,
        arg_min(a.activation, a.pos) AS distractor_activation
    FROM triples AS t
    INNER JOIN queries AS q USING (key_feature, query_feature)
    INNER JOIN active AS a
        ON
            t.distractor_feature = a.feature
            AND q.seq_id = a.seq_id
            AND q.query_pos >= a.pos
            AND q.key_pos <> a.pos
    GROUP BY t.key_feature, t.query_feature, t.distractor_feature, q.seq_id
),

drawn AS (
    SELECT
        c.feature,
        c.pair,
        q.*,
        d.distractor_pos,
        d.distractor_activation,
        count(*) OVER of_kind AS n_of_kind
    FROM cases AS c
    INNER JOIN queries AS q USING (key_feature, query_feature)
    LEFT JOIN distracted AS d USING (key_feature, query_feature, distractor_feature, seq_id)
    WINDOW of_kind AS (PARTITION BY c.feature, c.pair, d.distractor_pos IS NULL)
    QUALIFY
        row_number() OVER (
            PARTITION BY c.feature, c.pair, d.distractor_pos IS NULL
            ORDER BY mix32(mix32($seed) + q.seq_id), q.seq_id
        ) <= $max_examples
)

SELECT
    d.feature,
    d.pair,
    CASE WHEN d.distractor_pos IS NULL THEN 'no_distractor' ELSE 'has_distractor' END AS kind,
    d.n_of_kind,
    d.seq_id,
    d.key_pos,
    d.query_pos,
    d.distractor_pos,
    d.key_activation,
    d.query_activation,
    d.distractor_activation,
    coalesce(y.activation, 0) AS activation
FROM drawn AS d
LEFT JOIN output_activations AS y
    ON
        y.layer = $layer
        AND y.head = $head
        AND d.feature = y.feature
        AND d.seq_id = y.seq_id
        AND d.query_pos = y.pos;
