-- Rotations are of ingested heads, once each, and turn pairs of dimensions that there are.
-- Reads: heads, rotations
SELECT format('rotations: L{}H{} is stored {} times', layer, head, count(*)) AS problem
FROM rotations
GROUP BY layer, head
HAVING count(*) > 1
UNION ALL
SELECT format('rotations: L{}H{} is no ingested head', r.layer, r.head) AS problem
FROM rotations AS r
ANTI JOIN heads AS h ON r.layer = h.layer AND r.head = h.head
UNION ALL
SELECT
    format(
        'rotations: L{}H{} turns {} pairs of dimensions ({}) by {}, of {} dimensions',
        r.layer, r.head, len(r.frequencies), r.pairing, r.magnitude, len(h.b_K)
    ) AS problem
FROM rotations AS r
INNER JOIN heads AS h ON r.layer = h.layer AND r.head = h.head
WHERE
    2 * len(r.frequencies) > len(h.b_K)
    OR r.pairing NOT IN ('halves', 'adjacent')
    OR NOT (isfinite(r.magnitude) AND r.magnitude > 0)
    OR NOT isfinite(coalesce(list_sum(r.frequencies), 0))
    OR list_count(r.frequencies) < len(r.frequencies);
