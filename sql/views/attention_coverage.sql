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
