-- Grain: a candidate pair of a mined feature, counted over the whole corpus after BOS and over its train part. It matches
-- where the query is active and the key is or was; it is supported where the feature is active too and the model
-- attends to the key. Sequences with a val or test example of the feature are no part of its train positions: neither
-- their hits nor their matches count there.
WITH keys AS (
    SELECT
        i.seq_id,
        i.feature AS key_feature,
        min(i.pos) AS pos
    FROM input_activations AS i
    WHERE
        i.layer = $layer AND (i.pos > 0 OR $bos_keys)
        AND i.feature IN (SELECT p.key_feature FROM candidate_pairs AS p)
    GROUP BY i.seq_id, i.feature
),

queries AS (
    SELECT
        i.seq_id,
        i.pos,
        i.feature AS query_feature
    FROM input_activations AS i
    WHERE
        i.layer = $layer AND i.pos > 0
        AND i.feature IN (SELECT p.query_feature FROM candidate_pairs AS p)
),

matches AS (
    SELECT
        p.key_feature,
        p.query_feature,
        count(*) AS n_matches,
        count(*) FILTER (WHERE sequence_split($seed, q.seq_id) = 'train') AS n_train_matches
    FROM (
        SELECT DISTINCT
            key_feature,
            query_feature
        FROM candidate_pairs
    ) AS p
    INNER JOIN queries AS q ON p.query_feature = q.query_feature
    INNER JOIN keys AS k ON p.key_feature = k.key_feature AND q.seq_id = k.seq_id AND q.pos >= k.pos
    GROUP BY p.key_feature, p.query_feature
),

held_out AS (
    SELECT DISTINCT
        e.feature,
        e.seq_id
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE
        e.layer = $layer AND e.head = $head AND e.split <> 'train'
        AND sequence_split($seed, e.seq_id) = 'train'
),

held_out_matches AS (
    SELECT
        p.feature,
        p.key_feature,
        p.query_feature,
        count(*) AS n
    FROM held_out AS h
    INNER JOIN candidate_pairs AS p ON h.feature = p.feature
    INNER JOIN queries AS q ON h.seq_id = q.seq_id AND p.query_feature = q.query_feature
    INNER JOIN keys AS k ON h.seq_id = k.seq_id AND p.key_feature = k.key_feature AND q.pos >= k.pos
    GROUP BY p.feature, p.key_feature, p.query_feature
),

active AS (
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        t.pos IS NOT NULL AS is_train
    FROM output_activations AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    LEFT JOIN train_active AS t ON a.feature = t.feature AND a.seq_id = t.seq_id AND a.pos = t.pos
    WHERE a.layer = $layer AND a.head = $head AND a.pos > 0
),

active_pairs AS (
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        a.is_train,
        p.key_feature,
        p.query_feature
    FROM active AS a
    INNER JOIN queries AS q ON a.seq_id = q.seq_id AND a.pos = q.pos
    INNER JOIN candidate_pairs AS p ON a.feature = p.feature AND q.query_feature = p.query_feature
    INNER JOIN keys AS k ON a.seq_id = k.seq_id AND p.key_feature = k.key_feature AND a.pos >= k.pos
),

reached AS (
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        i.feature AS key_feature,
        sum(s.weight * i.activation) AS amount
    FROM active AS a
    INNER JOIN attention_sources AS s ON a.seq_id = s.seq_id AND a.pos = s.query_pos
    INNER JOIN input_activations AS i ON s.seq_id = i.seq_id AND s.key_pos = i.pos
    SEMI JOIN candidate_keys AS c ON a.feature = c.feature AND i.feature = c.key_feature
    WHERE s.layer = $layer AND s.head = $head AND i.layer = $layer AND (i.pos > 0 OR $bos_keys)
    GROUP BY a.feature, a.seq_id, a.pos, i.feature
),

hits AS (
    SELECT
        a.feature,
        a.key_feature,
        a.query_feature,
        count(*) AS n_hits,
        count(*) FILTER (WHERE a.is_train) AS n_train_hits,
        count(r.amount) AS support_positions,
        count(DISTINCT a.seq_id) FILTER (WHERE r.amount IS NOT NULL) AS support_sequences,
        sum(r.amount) AS amount
    FROM active_pairs AS a
    LEFT JOIN reached AS r
        ON a.feature = r.feature AND a.seq_id = r.seq_id AND a.pos = r.pos AND a.key_feature = r.key_feature
    GROUP BY a.feature, a.key_feature, a.query_feature
),

sizes AS (
    SELECT
        feature,
        count(*) AS n_active,
        count(*) FILTER (WHERE is_train) AS n_train_active
    FROM active
    GROUP BY feature
)

SELECT
    p.feature,
    p.key_feature,
    p.query_feature,
    p.value_score,
    h.support_positions,
    h.support_sequences,
    coalesce(p.value_score * h.amount / nullif(h.support_positions, 0), 0) AS contribution,
    m.n_matches,
    h.n_hits,
    m.n_train_matches - coalesce(o.n, 0) AS n_train_matches,
    h.n_train_hits,
    z.n_active,
    z.n_train_active,
    (SELECT count(*) FROM tokens AS t WHERE t.pos > 0) AS n_positions
FROM candidate_pairs AS p
INNER JOIN hits AS h
    ON p.feature = h.feature AND p.key_feature = h.key_feature AND p.query_feature = h.query_feature
INNER JOIN matches AS m ON p.key_feature = m.key_feature AND p.query_feature = m.query_feature
LEFT JOIN held_out_matches AS o
    ON p.feature = o.feature AND p.key_feature = o.key_feature AND p.query_feature = o.query_feature
INNER JOIN sizes AS z ON p.feature = z.feature;
