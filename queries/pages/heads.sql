-- Grain: a head, or layer, of the site, with what it attends to and how far rules describe its features.
-- Reads: head_summary, head_roles
SELECT
    s.layer,
    s.head,
    head_label(s.layer, s.head) AS name,
    s.* EXCLUDE (layer, head),
    r.previous_token,
    r.duplicate_token,
    r.induction,
    r.bos,
    r.self
FROM head_summary AS s
LEFT JOIN (
    SELECT
        layer,
        head,
        any_value(attention) FILTER (WHERE role = 'previous_token') AS previous_token,
        any_value(attention) FILTER (WHERE role = 'duplicate_token') AS duplicate_token,
        any_value(attention) FILTER (WHERE role = 'induction') AS induction,
        any_value(attention) FILTER (WHERE role = 'bos') AS bos,
        any_value(attention) FILTER (WHERE role = 'self') AS self
    FROM head_roles
    GROUP BY layer, head
) AS r ON s.layer = r.layer AND s.head = r.head
ORDER BY s.layer, s.head;
