-- No fact is stored twice.
-- Reads: attention_sources, input_activations, methods, output_activations, rules, token_scales, tokens
SELECT format('tokens: sequence {} position {} is stored {} times', seq_id, pos, count(*)) AS problem
FROM tokens
GROUP BY seq_id, pos
HAVING count(*) > 1
UNION ALL
SELECT
    format(
        'input_activations: layer {} sequence {} position {} feature {} is stored {} times',
        layer, seq_id, pos, feature, count(*)
    ) AS problem
FROM input_activations
GROUP BY layer, seq_id, pos, feature
HAVING count(*) > 1
UNION ALL
SELECT
    format(
        'output_activations: {} sequence {} position {} feature {} is stored {} times',
        head_label(layer, head), seq_id, pos, feature, count(*)
    ) AS problem
FROM output_activations
GROUP BY layer, head, seq_id, pos, feature
HAVING count(*) > 1
UNION ALL
SELECT
    format(
        'attention_sources: {} sequence {} query {} key {} is stored {} times',
        head_label(layer, head), seq_id, query_pos, key_pos, count(*)
    ) AS problem
FROM attention_sources
GROUP BY layer, head, seq_id, query_pos, key_pos
HAVING count(*) > 1
UNION ALL
SELECT
    format('token_scales: layer {} sequence {} position {} is stored {} times', layer, seq_id, pos, count(*))
        AS problem
FROM token_scales
GROUP BY layer, seq_id, pos
HAVING count(*) > 1
UNION ALL
SELECT
    format(
        'rules: {}.{} {} {} rank {} is stored {} times',
        head_label(r.layer, r.head), r.feature, r.method, r.scaling, r.rank, count(*)
    ) AS problem
FROM rules AS r
LEFT JOIN methods AS m ON r.method = m.method
GROUP BY
    r.layer, r.head, r.feature, r.method, r.scaling, r.rank,
    CASE WHEN m.shares_rank IN ('key', 'key and query') THEN r.through_head END,
    CASE WHEN m.shares_rank IN ('key', 'key and query') THEN r.key_feature END,
    CASE WHEN m.shares_rank = 'key and query' THEN r.query_feature END
HAVING count(*) > 1;
