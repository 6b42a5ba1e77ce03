-- Every ingested head has its projections of all input features, every output SAE all its features, and one over a whole layer all its heads.
-- Reads: heads, model, output_features, projections, saes
SELECT
    format('{}: {} projections stored, the input SAE has {} features', head_label(h.layer, h.head), count(p.feature), s.d_sae)
        AS problem
FROM heads AS h
INNER JOIN saes AS s ON s.role = 'input' AND h.layer = s.layer
LEFT JOIN projections AS p ON h.layer = p.layer AND h.head = p.head
GROUP BY h.layer, h.head, s.d_sae
HAVING count(p.feature) <> s.d_sae
UNION ALL
SELECT
    format('{}: {} output features stored, its SAE has {}', head_label(s.layer, s.head), count(f.feature), s.d_sae) AS problem
FROM saes AS s
LEFT JOIN output_features AS f ON s.layer = f.layer AND s.head = f.head
WHERE s.role = 'output'
GROUP BY s.layer, s.head, s.d_sae
HAVING count(f.feature) <> s.d_sae
UNION ALL
SELECT
    format('L{}: {} heads stored, the SAE over the whole layer reads {}', s.layer, count(h.head), m.n_heads) AS problem
FROM saes AS s
CROSS JOIN model AS m
LEFT JOIN heads AS h ON s.layer = h.layer
WHERE s.role = 'output' AND s.head = -1
GROUP BY s.layer, m.n_heads
HAVING count(h.head) <> m.n_heads;
