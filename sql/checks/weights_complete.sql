-- Every ingested head has its projections of all input features and all its output features.
-- Reads: heads, output_features, projections, saes
SELECT
    format('L{}H{}: {} projections stored, the input SAE has {} features', h.layer, h.head, count(p.feature), s.d_sae)
        AS problem
FROM heads AS h
INNER JOIN saes AS s ON s.role = 'input' AND h.layer = s.layer
LEFT JOIN projections AS p ON h.layer = p.layer AND h.head = p.head
GROUP BY h.layer, h.head, s.d_sae
HAVING count(p.feature) <> s.d_sae
UNION ALL
SELECT
    format('L{}H{}: {} output features stored, its SAE has {}', h.layer, h.head, count(f.feature), s.d_sae) AS problem
FROM heads AS h
INNER JOIN saes AS s ON s.role = 'output' AND h.layer = s.layer AND h.head = s.head
LEFT JOIN output_features AS f ON h.layer = f.layer AND h.head = f.head
GROUP BY h.layer, h.head, s.d_sae
HAVING count(f.feature) <> s.d_sae;
