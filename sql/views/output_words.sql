-- Grain: an output feature and one of the few tokens that stand for what it makes the model say.
-- The strongest evidence that there is for any token of the feature decides which tokens these are: confirmed on the
-- model, else promoted by the weights and seen in the corpus, else by the weights alone, if they say something, else in the
-- corpus alone (method.md section 12.4).
CREATE VIEW output_words AS
WITH by_weights AS (
    SELECT
        t.layer,
        t.head,
        t.feature,
        t.token_id,
        t.rank,
        t.effect,
        e.kurtosis > u.random_kurtosis AS says_something
    FROM output_tokens AS t
    INNER JOIN output_effects AS e ON t.layer = e.layer AND t.head = e.head AND t.feature = e.feature
    CROSS JOIN unembedding AS u
    WHERE t.side = 'promoted'
),

found AS (
    SELECT
        coalesce(w.layer, c.layer) AS layer,
        coalesce(w.head, c.head) AS head,
        coalesce(w.feature, c.feature) AS feature,
        coalesce(w.token_id, c.token_id) AS token_id,
        w.rank AS rank_by_weights,
        w.effect,
        w.says_something IS TRUE AS by_weights,
        c.token_id IS NOT NULL AS in_corpus,
        c.log_odds,
        c.log_odds_low,
        c.log_odds_high
    FROM by_weights AS w
    FULL JOIN output_corpus_tokens AS c
        ON w.layer = c.layer AND w.head = c.head AND w.feature = c.feature AND w.token_id = c.token_id
),

judged AS (
    SELECT
        f.layer,
        f.head,
        f.feature,
        f.token_id,
        f.rank_by_weights,
        f.effect,
        f.by_weights,
        f.in_corpus,
        f.log_odds,
        f.log_odds_low,
        f.log_odds_high,
        m.raise,
        m.raise_low,
        m.raise_high,
        CASE
            WHEN m.confirmed THEN 3
            WHEN f.by_weights AND f.in_corpus THEN 2
            WHEN f.by_weights THEN 1
            WHEN f.in_corpus THEN 0
        END AS strength
    FROM found AS f
    LEFT JOIN output_token_tests AS m
        ON f.layer = m.layer AND f.head = m.head AND f.feature = m.feature AND f.token_id = m.token_id
),

placed AS (
    SELECT
        layer,
        head,
        feature,
        row_number() OVER (
            PARTITION BY layer, head, feature
            ORDER BY
                strength DESC,
                CASE WHEN strength = 3 THEN raise END DESC,
                CASE WHEN strength IN (0, 2) THEN log_odds_low END DESC,
                rank_by_weights ASC,
                token_id ASC
        ) AS place,
        token_id,
        CASE strength
            WHEN 3 THEN 'confirmed on the model'
            WHEN 2 THEN 'seen in the corpus'
            WHEN 1 THEN 'by weights alone'
            ELSE 'in the corpus alone'
        END AS evidence,
        by_weights,
        in_corpus,
        effect,
        log_odds,
        log_odds_low,
        log_odds_high,
        raise,
        raise_low,
        raise_high
    FROM judged
    WHERE strength IS NOT NULL
    QUALIFY place <= 6 AND strength = max(strength) OVER (PARTITION BY layer, head, feature)
)

SELECT
    p.layer,
    p.head,
    p.feature,
    p.place,
    p.token_id,
    v.token,
    p.evidence,
    p.by_weights,
    p.in_corpus,
    p.effect,
    p.log_odds,
    p.log_odds_low,
    p.log_odds_high,
    p.raise,
    p.raise_low,
    p.raise_high
FROM placed AS p
INNER JOIN vocabulary AS v ON p.token_id = v.token_id;
COMMENT ON VIEW output_words IS 'The first 6 tokens that stand for what an output feature makes the model say, by the strongest evidence that it has; no row for one that says nothing';
COMMENT ON COLUMN output_words.layer IS 'Layer, 0-based';
COMMENT ON COLUMN output_words.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN output_words.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN output_words.place IS 'Place among the tokens shown, from 1';
COMMENT ON COLUMN output_words.token_id IS 'Token id';
COMMENT ON COLUMN output_words.token IS 'Text of the token';
COMMENT ON COLUMN output_words.evidence IS 'confirmed on the model: taking the feature away lowers its probability; seen in the corpus: the weights promote it, and it follows more often where the feature is active; by weights alone: its logit is among those that the feature raises most; in the corpus alone: it follows more often, and the weights say nothing';
COMMENT ON COLUMN output_words.by_weights IS 'Whether it is among output_tokens and the feature says something directly: its kurtosis is above that of 99% of random directions';
COMMENT ON COLUMN output_words.in_corpus IS 'Whether it is among output_corpus_tokens';
COMMENT ON COLUMN output_words.effect IS 'output_tokens.effect, NULL where it is not among those most promoted';
COMMENT ON COLUMN output_words.log_odds IS 'output_corpus_tokens.log_odds, NULL where it is not among them';
COMMENT ON COLUMN output_words.log_odds_low IS 'Lower end of its 99.9% interval';
COMMENT ON COLUMN output_words.log_odds_high IS 'Upper end';
COMMENT ON COLUMN output_words.raise IS 'output_token_tests.raise, in nats, NULL where it was not tested';
COMMENT ON COLUMN output_words.raise_low IS 'Lower end of its 95% interval';
COMMENT ON COLUMN output_words.raise_high IS 'Upper end';
