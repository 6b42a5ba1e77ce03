-- Grain: a query position of a head.
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
COMMENT ON VIEW attention_coverage IS 'How much of the attention of a query position is stored: 1 minus kept_mass was dropped at ingest';
COMMENT ON COLUMN attention_coverage.layer IS 'Layer, 0-based';
COMMENT ON COLUMN attention_coverage.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN attention_coverage.seq_id IS 'Sequence (row of the corpus), 0-based';
COMMENT ON COLUMN attention_coverage.query_pos IS 'Position that attends';
COMMENT ON COLUMN attention_coverage.n_sources IS 'Source positions that are stored';
COMMENT ON COLUMN attention_coverage.kept_mass IS 'Sum of their weights: 1 minus this was dropped at ingest';
COMMENT ON COLUMN attention_coverage.kept_mass_from_features IS 'The same for weight_from_features';
