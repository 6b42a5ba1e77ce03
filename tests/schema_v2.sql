-- Schema version 2, as attnrules wrote it: what `attnrules upgrade` must be able to read.
-- $d_head stands for the width of a head.

CREATE TABLE absence_tests (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    status VARCHAR NOT NULL,
    distractor_token_id UINTEGER,
    control_token_ids UINTEGER[],
    n_examples UINTEGER NOT NULL,
    distractor_activations DOUBLE[],
    control_activations DOUBLE[],
    distractor_fires DOUBLE,
    key_attention DOUBLE,
    key_attention_distractor DOUBLE,
    key_attention_control DOUBLE,
    inserted_attention_distractor DOUBLE,
    inserted_attention_control DOUBLE,
    fall DOUBLE,
    fall_low DOUBLE,
    fall_high DOUBLE,
    control_fall DOUBLE,
    excess_fall DOUBLE,
    excess_low DOUBLE,
    excess_high DOUBLE,
    n_replaced UINTEGER NOT NULL,
    rise DOUBLE,
    control_rise DOUBLE,
    excess_rise DOUBLE,
    excess_rise_low DOUBLE,
    excess_rise_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    run_id UINTEGER NOT NULL
);

CREATE TABLE attention_sources (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    seq_id UINTEGER NOT NULL,
    query_pos USMALLINT NOT NULL,
    key_pos USMALLINT NOT NULL,
    weight FLOAT NOT NULL,
    weight_from_features FLOAT NOT NULL
);

CREATE TABLE chunks (
    chunk_id UINTEGER NOT NULL,
    first_seq UINTEGER NOT NULL,
    n_seqs UINTEGER NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('done')),
    tokens UBIGINT NOT NULL,
    input_activations UBIGINT NOT NULL,
    output_activations UBIGINT NOT NULL,
    attention_sources UBIGINT NOT NULL,
    token_scales UBIGINT NOT NULL,
    heads VARCHAR[] NOT NULL,
    run_id UINTEGER NOT NULL
);

CREATE TABLE corpus (
    source VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    text_column VARCHAR NOT NULL,
    seq_len USMALLINT NOT NULL,
    keep_long_documents BOOLEAN NOT NULL,
    min_attention DOUBLE NOT NULL,
    resolved_commit VARCHAR
);

CREATE TABLE counting_counts (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    split VARCHAR NOT NULL CHECK (split IN ('train', 'test')),
    n_key USMALLINT NOT NULL,
    n_opponent USMALLINT,
    n_positions UBIGINT NOT NULL,
    n_active UBIGINT NOT NULL,
    mean_activation DOUBLE NOT NULL,
    run_id UINTEGER NOT NULL
);

CREATE TABLE counting_rules (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    key_feature UINTEGER NOT NULL,
    query_feature UINTEGER NOT NULL,
    opponent_feature UINTEGER,
    key_weight UTINYINT NOT NULL,
    opponent_weight UTINYINT NOT NULL,
    threshold USMALLINT NOT NULL,
    n_positions UBIGINT NOT NULL,
    n_active UBIGINT NOT NULL,
    precision DOUBLE NOT NULL,
    recall DOUBLE NOT NULL,
    f1 DOUBLE NOT NULL,
    information DOUBLE NOT NULL,
    presence VARCHAR NOT NULL,
    presence_precision DOUBLE NOT NULL,
    presence_recall DOUBLE NOT NULL,
    presence_f1 DOUBLE NOT NULL,
    presence_information DOUBLE NOT NULL,
    skipgram_f1 DOUBLE NOT NULL,
    skipgram_information DOUBLE NOT NULL,
    information_gain DOUBLE NOT NULL,
    gain_low DOUBLE NOT NULL,
    gain_high DOUBLE NOT NULL,
    run_id UINTEGER NOT NULL
);

CREATE TABLE counting_tests (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    status VARCHAR NOT NULL,
    key_token_id UINTEGER,
    opponent_token_id UINTEGER,
    neutral_token_id UINTEGER,
    n_examples UINTEGER NOT NULL,
    agreement DOUBLE,
    presence_agreement DOUBLE,
    information DOUBLE,
    presence_information DOUBLE,
    information_gain DOUBLE,
    gain_low DOUBLE,
    gain_high DOUBLE,
    excess_active DOUBLE,
    excess_low DOUBLE,
    excess_high DOUBLE,
    confirmed BOOLEAN NOT NULL,
    run_id UINTEGER NOT NULL
);

CREATE TABLE distractor_examples (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('no_distractor', 'has_distractor')),
    seq_id UINTEGER NOT NULL,
    key_pos USMALLINT NOT NULL,
    query_pos USMALLINT NOT NULL,
    distractor_pos USMALLINT,
    key_activation FLOAT NOT NULL,
    query_activation FLOAT NOT NULL,
    distractor_activation FLOAT,
    activation FLOAT NOT NULL
);

CREATE TABLE distractors (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    key_feature UINTEGER NOT NULL,
    query_feature UINTEGER NOT NULL,
    value_score DOUBLE NOT NULL,
    attn_score DOUBLE NOT NULL,
    key_rank UINTEGER NOT NULL,
    distractor_feature UINTEGER,
    distractor_rank UINTEGER,
    distractor_value_score DOUBLE,
    distractor_attn_score DOUBLE,
    has_distractor_key BOOLEAN NOT NULL,
    kq_count UINTEGER,
    kkq_count UINTEGER,
    kq_active_share DOUBLE,
    kkq_active_share DOUBLE,
    kq_mean_activation DOUBLE,
    kkq_mean_activation DOUBLE,
    matched_kq UINTEGER,
    matched_kkq UINTEGER,
    matched_difference DOUBLE,
    matched_low DOUBLE,
    matched_high DOUBLE,
    run_id UINTEGER NOT NULL
);

CREATE TABLE examples (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    example_set VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    label UTINYINT NOT NULL,
    seq_id UINTEGER NOT NULL,
    pos USMALLINT NOT NULL,
    activation FLOAT NOT NULL
);

CREATE TABLE feature_descriptions (
    role VARCHAR NOT NULL CHECK (role IN ('input', 'output')),
    layer UTINYINT NOT NULL,
    head UTINYINT,
    feature UINTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('imported', 'tokens', 'embedding')),
    description VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);

CREATE TABLE heads (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    attn_scale DOUBLE NOT NULL,
    b_Q FLOAT[$d_head] NOT NULL,
    b_K FLOAT[$d_head] NOT NULL,
    b_V FLOAT[$d_head] NOT NULL,
    decoder_bias_query FLOAT[$d_head] NOT NULL,
    decoder_bias_key FLOAT[$d_head] NOT NULL,
    decoder_bias_value FLOAT[$d_head] NOT NULL,
    kept_attention_mass DOUBLE,
    kept_attention_mass_from_features DOUBLE
);

CREATE TABLE input_activations (
    layer UTINYINT NOT NULL,
    seq_id UINTEGER NOT NULL,
    pos USMALLINT NOT NULL,
    feature UINTEGER NOT NULL,
    activation FLOAT NOT NULL
);

CREATE TABLE input_features (
    layer UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    n_sequences UINTEGER NOT NULL,
    n_tokens UBIGINT NOT NULL,
    mean_activation DOUBLE,
    max_activation DOUBLE,
    description VARCHAR
);

CREATE TABLE interventions (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    scaling VARCHAR NOT NULL,
    pair UINTEGER NOT NULL,
    experiment VARCHAR NOT NULL CHECK (experiment IN ('insertion', 'replacement', 'counting')),
    arm VARCHAR NOT NULL CHECK (arm IN ('none', 'distractor', 'control', 'grid')),
    seq_id UINTEGER NOT NULL,
    query_pos USMALLINT NOT NULL,
    key_pos USMALLINT,
    n_key USMALLINT NOT NULL,
    n_changed USMALLINT NOT NULL,
    token_id UINTEGER,
    activation FLOAT NOT NULL,
    attention_to_key FLOAT,
    attention_to_changed FLOAT,
    distractor_activation FLOAT,
    run_id UINTEGER NOT NULL
);

CREATE TABLE methods (
    method VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    meaning VARCHAR NOT NULL
);
INSERT INTO methods VALUES
('magnitude', 'rules', 'pairs by exp(S) V: weights alone, the paper''s'),
('importance', 'rules', 'pairs by the gradient of a linearised head on train examples, the paper''s'),
('unigram', 'rules', 'keys by V, no query, the paper''s'),
('mined', 'rules', 'pairs by what the corpus shows: how often the feature is active where they match'),
('weighted', 'rules', 'keys by V times how much more attention carries when the feature is active'),
('weighted_signed', 'rules', 'the same by size, suppressors kept'),
('weighted_groups', 'rules', 'the same for groups of up to eight keys whose value vectors point the same way'),
('weighted_gates', 'rules', 'these groups, with up to eight queries where those say when a group counts'),
('weighted_pairs', 'rules', 'the same for (key, query) pairs'),
('always_active', 'baseline', 'predicts active everywhere'),
('current_token', 'baseline', 'mean train activation on the token alone'),
('last_two_tokens', 'baseline', 'mean train activation on the last two tokens'),
('key_anywhere', 'baseline', 'keys of the magnitude rules, present anywhere before, no query'),
('random', 'baseline', 'magnitude rules with both features swapped for others that fire about as often'),
('ceiling_from_features', 'ceiling', 'all input features, attention computed from them'),
('ceiling_model_attention', 'ceiling', 'all input features, the model''s own attention');

CREATE TABLE model (
    name VARCHAR NOT NULL,
    revision VARCHAR,
    architecture VARCHAR NOT NULL,
    n_layers USMALLINT NOT NULL,
    n_heads USMALLINT NOT NULL,
    n_kv_heads USMALLINT NOT NULL,
    d_model UINTEGER NOT NULL,
    d_head UINTEGER NOT NULL,
    n_ctx UINTEGER NOT NULL,
    vocab_size UINTEGER NOT NULL,
    attn_scale DOUBLE NOT NULL,
    normalization VARCHAR NOT NULL,
    positional_embedding VARCHAR NOT NULL,
    bos_token_id UINTEGER NOT NULL,
    processing VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    resolved_commit VARCHAR
);

CREATE TABLE output_activations (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    seq_id UINTEGER NOT NULL,
    pos USMALLINT NOT NULL,
    feature UINTEGER NOT NULL,
    activation FLOAT NOT NULL
);

CREATE TABLE output_features (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    n_sequences UINTEGER NOT NULL,
    n_tokens UBIGINT NOT NULL,
    mean_activation DOUBLE,
    mean_max_activation DOUBLE,
    max_activation DOUBLE,
    description VARCHAR,
    encoder FLOAT[$d_head] NOT NULL,
    bias DOUBLE NOT NULL,
    preactivation_bias DOUBLE NOT NULL
);

CREATE TABLE projections (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    key_vector FLOAT[$d_head] NOT NULL,
    query_vector FLOAT[$d_head] NOT NULL,
    value_vector FLOAT[$d_head] NOT NULL
);

CREATE TABLE rule_evaluations (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    example_set VARCHAR NOT NULL,
    n_rules UINTEGER NOT NULL,
    n_rules_used UINTEGER NOT NULL,
    aggregation VARCHAR NOT NULL,
    threshold DOUBLE,
    slope DOUBLE,
    intercept DOUBLE,
    run_id UINTEGER NOT NULL
);

CREATE TABLE rule_metric_values (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    example_set VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    n_rules UINTEGER NOT NULL,
    n_rules_used UINTEGER NOT NULL,
    aggregation VARCHAR NOT NULL,
    precision DOUBLE NOT NULL,
    recall DOUBLE NOT NULL,
    f1 DOUBLE NOT NULL,
    threshold DOUBLE,
    precision_at_threshold DOUBLE,
    recall_at_threshold DOUBLE,
    f1_at_threshold DOUBLE,
    spearman DOUBLE,
    average_precision DOUBLE,
    r2 DOUBLE,
    f1_low DOUBLE,
    f1_high DOUBLE,
    f1_at_threshold_low DOUBLE,
    f1_at_threshold_high DOUBLE,
    average_precision_low DOUBLE,
    average_precision_high DOUBLE,
    n_examples UINTEGER NOT NULL,
    n_active UINTEGER NOT NULL
);

CREATE TABLE rule_scores (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    example_set VARCHAR NOT NULL,
    seq_id UINTEGER NOT NULL,
    pos USMALLINT NOT NULL,
    n_rules UINTEGER NOT NULL,
    prediction DOUBLE NOT NULL
);

CREATE TABLE rules (
    layer UTINYINT NOT NULL,
    head UTINYINT NOT NULL,
    feature UINTEGER NOT NULL,
    method VARCHAR NOT NULL,
    scaling VARCHAR NOT NULL,
    rank UINTEGER NOT NULL,
    key_feature UINTEGER NOT NULL,
    query_feature UINTEGER,
    attn_score DOUBLE,
    value_score DOUBLE NOT NULL,
    score DOUBLE NOT NULL,
    support_positions UBIGINT,
    support_sequences UINTEGER,
    contribution DOUBLE,
    precision DOUBLE,
    recall DOUBLE,
    lift DOUBLE,
    lift_low DOUBLE,
    lift_high DOUBLE,
    run_id UINTEGER NOT NULL
);

CREATE TABLE runs (
    run_id UINTEGER PRIMARY KEY,
    command VARCHAR NOT NULL,
    arguments JSON NOT NULL,
    versions JSON NOT NULL,
    environment JSON,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted'))
);

CREATE TABLE saes (
    role VARCHAR NOT NULL CHECK (role IN ('input', 'output')),
    layer UTINYINT NOT NULL,
    head UTINYINT,
    source VARCHAR NOT NULL,
    hook_name VARCHAR NOT NULL,
    d_in UINTEGER NOT NULL,
    d_sae UINTEGER NOT NULL,
    architecture VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    resolved_commit VARCHAR
);

CREATE TABLE schema_version (
    version UINTEGER NOT NULL,
    created_by VARCHAR NOT NULL
);

CREATE TABLE token_scales (
    layer UTINYINT NOT NULL,
    seq_id UINTEGER NOT NULL,
    pos USMALLINT NOT NULL,
    ln_scale FLOAT NOT NULL,
    ln_scale_from_features FLOAT NOT NULL,
    reconstruction_error FLOAT NOT NULL
);

CREATE TABLE tokens (
    seq_id UINTEGER NOT NULL,
    pos USMALLINT NOT NULL,
    token_id UINTEGER NOT NULL
);

CREATE TABLE vocabulary (
    token_id UINTEGER NOT NULL,
    token VARCHAR NOT NULL
);

CREATE VIEW absence_summary AS
SELECT
    d.layer,
    d.head,
    d.feature,
    d.scaling,
    d.pair,
    d.key_feature,
    k.description AS key_description,
    d.distractor_feature,
    b.description AS distractor_description,
    d.query_feature,
    q.description AS query_description,
    d.key_rank,
    d.distractor_rank,
    d.value_score,
    d.distractor_value_score,
    d.kq_count,
    d.kkq_count,
    d.kq_active_share,
    d.kkq_active_share,
    d.kq_mean_activation,
    d.kkq_mean_activation,
    d.matched_difference,
    d.matched_low,
    d.matched_high,
    coalesce(t.status, 'not tested') AS status,
    v.token AS distractor_token,
    t.n_examples,
    t.distractor_activations,
    t.control_activations,
    t.fall,
    t.control_fall,
    t.excess_fall,
    t.excess_low,
    t.excess_high,
    t.excess_fall / nullif(t.distractor_activations[1], 0) AS excess_share,
    t.key_attention,
    t.key_attention_distractor,
    t.key_attention_control,
    t.n_replaced,
    t.excess_rise,
    t.excess_rise_low,
    t.excess_rise_high,
    coalesce(t.confirmed, FALSE) AS confirmed
FROM distractors AS d
LEFT JOIN absence_tests AS t
    ON
        d.layer = t.layer
        AND d.head = t.head
        AND d.feature = t.feature
        AND d.scaling = t.scaling
        AND d.pair = t.pair
LEFT JOIN vocabulary AS v ON t.distractor_token_id = v.token_id
LEFT JOIN input_features AS k ON d.layer = k.layer AND d.key_feature = k.feature
LEFT JOIN input_features AS b ON d.layer = b.layer AND d.distractor_feature = b.feature
LEFT JOIN input_features AS q ON d.layer = q.layer AND d.query_feature = q.feature
WHERE d.has_distractor_key;

CREATE VIEW attention_coverage AS
SELECT
    layer,
    head,
    seq_id,
    query_pos,
    count(*) AS n_sources,
    sum(weight) AS kept_mass,
    sum(weight_from_features) AS kept_mass_from_features
FROM attention_sources
GROUP BY layer, head, seq_id, query_pos;

CREATE VIEW counting_grid AS
SELECT
    layer,
    head,
    feature,
    scaling,
    pair,
    n_key,
    n_changed AS n_opponent,
    count(*) AS n_examples,
    avg(activation) AS mean_activation,
    avg((activation > 0)::DOUBLE) AS active_share
FROM interventions
WHERE experiment = 'counting' AND arm = 'grid'
GROUP BY layer, head, feature, scaling, pair, n_key, n_changed;

CREATE VIEW counting_summary AS
SELECT
    r.layer,
    r.head,
    r.feature,
    r.scaling,
    r.pair,
    r.key_feature,
    k.description AS key_description,
    r.opponent_feature,
    o.description AS opponent_description,
    r.query_feature,
    q.description AS query_description,
    r.key_weight,
    r.opponent_weight,
    r.threshold,
    r.n_positions,
    r.n_active,
    r.precision,
    r.recall,
    r.f1,
    r.information,
    r.presence,
    r.presence_f1,
    r.presence_information,
    r.skipgram_f1,
    r.skipgram_information,
    r.information_gain,
    r.gain_low,
    r.gain_high,
    coalesce(t.status, 'not tested') AS status,
    t.n_examples,
    t.agreement,
    t.presence_agreement,
    t.information_gain AS grid_information_gain,
    t.gain_low AS grid_gain_low,
    t.gain_high AS grid_gain_high,
    t.excess_active,
    t.excess_low,
    t.excess_high,
    coalesce(t.confirmed, FALSE) AS confirmed
FROM counting_rules AS r
LEFT JOIN counting_tests AS t
    ON
        r.layer = t.layer
        AND r.head = t.head
        AND r.feature = t.feature
        AND r.scaling = t.scaling
        AND r.pair = t.pair
LEFT JOIN input_features AS k ON r.layer = k.layer AND r.key_feature = k.feature
LEFT JOIN input_features AS o ON r.layer = o.layer AND r.opponent_feature = o.feature
LEFT JOIN input_features AS q ON r.layer = q.layer AND r.query_feature = q.feature;

CREATE VIEW feature_summary AS
SELECT
    f.layer,
    f.head,
    f.feature,
    f.n_sequences,
    f.n_tokens,
    f.mean_activation,
    f.max_activation,
    f.description,
    b.method AS best_method,
    b.scaling AS best_scaling,
    b.n_rules AS best_n_rules,
    b.f1_at_threshold AS test_f1,
    b.precision_at_threshold AS test_precision,
    b.recall_at_threshold AS test_recall,
    b.average_precision AS test_average_precision,
    b.spearman AS test_spearman
FROM output_features AS f
LEFT JOIN (
    SELECT t.*
    FROM rule_metric_values AS v
    INNER JOIN rule_metric_values AS t
        USING (layer, head, feature, method, scaling, example_set, n_rules)
    WHERE
        v.split = 'val' AND t.split = 'test' AND v.example_set = 'paper'
        AND v.method IN (SELECT m.method FROM methods AS m WHERE m.kind = 'rules')
    QUALIFY
        row_number() OVER (
            PARTITION BY v.layer, v.head, v.feature
            ORDER BY v.f1_at_threshold DESC NULLS LAST, v.n_rules ASC, v.method ASC, v.scaling DESC
        ) = 1
) AS b
    ON f.layer = b.layer AND f.head = b.head AND f.feature = b.feature;

CREATE VIEW rule_metrics AS
SELECT
    v.layer,
    v.head,
    v.feature,
    v.method,
    m.kind,
    v.scaling,
    v.example_set,
    v.split,
    v.n_rules,
    v.n_rules_used,
    v.aggregation,
    v.precision,
    v.recall,
    v.f1,
    v.f1_low,
    v.f1_high,
    v.threshold,
    v.precision_at_threshold,
    v.recall_at_threshold,
    v.f1_at_threshold,
    v.f1_at_threshold_low,
    v.f1_at_threshold_high,
    v.spearman,
    v.average_precision,
    v.average_precision_low,
    v.average_precision_high,
    v.r2,
    v.n_examples,
    v.n_active,
    v.n_active / v.n_examples AS base_rate,
    2 * v.n_active / (v.n_active + v.n_examples) AS f1_always_active,
    c.f1_at_threshold AS ceiling_f1_at_threshold,
    c.average_precision AS ceiling_average_precision,
    c.r2 AS ceiling_r2
FROM rule_metric_values AS v
INNER JOIN methods AS m ON v.method = m.method
LEFT JOIN rule_metric_values AS c
    ON
        c.method = 'ceiling_from_features'
        AND v.layer = c.layer
        AND v.head = c.head
        AND v.feature = c.feature
        AND v.example_set = c.example_set
        AND v.split = c.split;

CREATE VIEW rule_metrics_by_head AS
SELECT
    layer,
    head,
    method,
    kind,
    scaling,
    example_set,
    split,
    n_rules,
    count(*) AS n_features,
    avg(precision) AS mean_precision,
    avg(recall) AS mean_recall,
    avg(f1) AS mean_f1,
    median(f1) AS median_f1,
    avg((f1 >= 0.8)::DOUBLE) AS share_f1_at_least_80,
    avg(f1_at_threshold) AS mean_f1_at_threshold,
    median(f1_at_threshold) AS median_f1_at_threshold,
    avg((f1_at_threshold >= 0.8)::DOUBLE) AS share_f1_at_threshold_at_least_80,
    avg(spearman) AS mean_spearman,
    avg(average_precision) AS mean_average_precision,
    median(average_precision) AS median_average_precision,
    avg(r2) AS mean_r2,
    avg(ceiling_average_precision) AS mean_ceiling_average_precision,
    avg(f1_always_active) AS mean_f1_always_active,
    sum(n_active) / sum(n_examples) AS base_rate
FROM rule_metrics
GROUP BY layer, head, method, kind, scaling, example_set, split, n_rules;

CREATE VIEW rule_predictions AS
SELECT
    e.layer,
    e.head,
    e.feature,
    v.method,
    v.scaling,
    e.example_set,
    e.split,
    e.label,
    e.seq_id,
    e.pos,
    e.activation,
    v.n_rules,
    v.n_rules_used,
    v.aggregation,
    coalesce(s.prediction, 0) AS prediction,
    v.threshold,
    v.intercept + v.slope * coalesce(s.prediction, 0) AS predicted_activation
FROM examples AS e
INNER JOIN rule_evaluations AS v
    ON
        e.layer = v.layer
        AND e.head = v.head
        AND e.feature = v.feature
        AND e.example_set = v.example_set
LEFT JOIN rule_scores AS s
    ON
        e.layer = s.layer
        AND e.head = s.head
        AND e.feature = s.feature
        AND v.method = s.method
        AND v.scaling = s.scaling
        AND e.example_set = s.example_set
        AND e.seq_id = s.seq_id
        AND e.pos = s.pos
        AND v.n_rules = s.n_rules;

CREATE VIEW rule_texts AS
SELECT
    r.layer,
    r.head,
    r.feature,
    r.method,
    r.scaling,
    r.rank,
    r.key_feature,
    k.description AS key_description,
    r.query_feature,
    q.description AS query_description,
    r.attn_score,
    r.value_score,
    r.score
FROM rules AS r
LEFT JOIN input_features AS k ON r.layer = k.layer AND r.key_feature = k.feature
LEFT JOIN input_features AS q ON r.layer = q.layer AND r.query_feature = q.feature;

CREATE MACRO attn_score(of_layer, of_head, key_feature, query_feature) AS (
    SELECT array_inner_product(k.key_vector, q.query_vector)
    FROM projections AS k
    INNER JOIN projections AS q ON k.layer = q.layer AND k.head = q.head
    WHERE
        k.layer = of_layer AND k.head = of_head AND k.feature = key_feature
        AND q.feature = query_feature
);

CREATE MACRO dfa(of_layer, of_head, of_feature, of_seq, of_pos) AS TABLE
WITH read_off AS (
    SELECT
        f.encoder,
        array_inner_product(h.b_V, f.encoder) AS from_b_V,
        array_inner_product(h.decoder_bias_value, f.encoder) AS from_decoder_bias
    FROM output_features AS f
    INNER JOIN heads AS h ON f.layer = h.layer AND f.head = h.head
    WHERE f.layer = of_layer AND f.head = of_head AND f.feature = of_feature
),

sources AS (
    SELECT
        a.key_pos,
        a.weight,
        s.ln_scale
    FROM attention_sources AS a
    INNER JOIN token_scales AS s
        ON a.layer = s.layer AND a.seq_id = s.seq_id AND a.key_pos = s.pos
    WHERE a.layer = of_layer AND a.head = of_head AND a.seq_id = of_seq AND a.query_pos = of_pos
),

value_from_features AS (
    SELECT
        i.pos AS key_pos,
        sum(i.activation * array_inner_product(p.value_vector, r.encoder)) AS v
    FROM input_activations AS i
    INNER JOIN projections AS p ON i.layer = p.layer AND i.feature = p.feature
    CROSS JOIN read_off AS r
    WHERE i.layer = of_layer AND i.seq_id = of_seq AND i.pos <= of_pos AND p.head = of_head
    GROUP BY i.pos
)

SELECT
    s.key_pos,
    v.token,
    s.weight,
    s.weight
    * (r.from_b_V + (r.from_decoder_bias + coalesce(f.v, 0)) / s.ln_scale) AS contribution_from_features
FROM sources AS s
CROSS JOIN read_off AS r
LEFT JOIN value_from_features AS f ON s.key_pos = f.key_pos
INNER JOIN tokens AS t ON t.seq_id = of_seq AND s.key_pos = t.pos
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
ORDER BY s.key_pos;

CREATE MACRO token_label(token) AS '''' || replace(replace(replace(token, chr(10), '\n'), chr(13), '\r'), chr(9), '\t') || '''';
CREATE MACRO share_label(share) AS round(100 * share)::INTEGER || '%';

CREATE MACRO mix32_first(x) AS (xor(x, x >> 16) * 2246822507) & 4294967295;
CREATE MACRO mix32_second(x) AS (xor(x, x >> 13) * 3266489909) & 4294967295;
CREATE MACRO mix32_third(x) AS xor(x, x >> 16);
CREATE MACRO mix32(x) AS mix32_third(mix32_second(mix32_first(x::UBIGINT & 4294967295)));

CREATE MACRO rules_of(of_layer, of_head, of_feature) AS TABLE
SELECT
    rule_texts.method,
    rule_texts.scaling,
    rule_texts.rank,
    rule_texts.key_feature,
    rule_texts.key_description,
    rule_texts.query_feature,
    rule_texts.query_description,
    rule_texts.attn_score,
    rule_texts.value_score,
    rule_texts.score
FROM rule_texts
WHERE
    rule_texts.layer = of_layer
    AND rule_texts.head = of_head
    AND rule_texts.feature = of_feature
ORDER BY rule_texts.method, rule_texts.scaling, rule_texts.rank;

CREATE MACRO sequence_split(seed, of_sequence) AS (
    CASE WHEN mix32(mix32(mix32(seed) + 1013904242) + of_sequence) % 3 = 0 THEN 'test' ELSE 'train' END
);

CREATE MACRO token_text(of_seq) AS (
    SELECT string_agg(vocabulary.token, '' ORDER BY tokens.pos)
    FROM tokens
    INNER JOIN vocabulary USING (token_id)
    WHERE tokens.seq_id = of_seq
);

CREATE MACRO value_score(of_layer, of_head, output_feature, key_feature) AS (
    SELECT array_inner_product(p.value_vector, f.encoder)
    FROM projections AS p
    INNER JOIN output_features AS f ON p.layer = f.layer AND p.head = f.head
    WHERE
        p.layer = of_layer AND p.head = of_head AND p.feature = key_feature
        AND f.feature = output_feature
);
