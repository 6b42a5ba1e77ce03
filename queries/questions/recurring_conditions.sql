-- What the stated rules of several features of a head ask for: a token or input feature, looked for at a place.
-- Group: heads
-- Needs: stated_rules
-- $layer = null: layer of the head; of the first that has stated rules, where layer and head are null
-- $head = null: the head; -1 for an SAE over the whole layer
-- $n_rules = 16: first rules of each feature
-- $limit = 20: number of conditions
WITH asked AS (
    SELECT
        coalesce($layer::INTEGER, min(layer)) AS layer,
        coalesce($head::INTEGER, arg_min(head, (layer, head))) AS head
    FROM stated_rules
    WHERE layer = coalesce($layer::INTEGER, layer)
),

conditions AS (
    SELECT
        s.place,
        s.nearest,
        s.farthest,
        s.absent,
        s.at_least,
        s.kind,
        s.member_layer,
        s.member,
        count(DISTINCT s.feature) AS n_features,
        count(DISTINCT [s.feature, s.rank]) AS n_rules,
        list(DISTINCT s.feature ORDER BY s.feature)[:8] AS features,
        arg_min(r.statement, (s.rank, s.feature)) AS example
    FROM asked AS a
    INNER JOIN stated_atoms AS s ON a.layer = s.layer AND a.head = s.head AND s.rank <= $n_rules
    INNER JOIN stated_rules AS r
        ON s.layer = r.layer AND s.head = r.head AND s.feature = r.feature AND s.rank = r.rank
    WHERE s.kind <> 'position'
    GROUP BY s.place, s.nearest, s.farthest, s.absent, s.at_least, s.kind, s.member_layer, s.member
    HAVING count(DISTINCT s.feature) > 1
)

SELECT
    CASE c.kind
        WHEN 'token' THEN token_label(v.token)
        WHEN 'feature' THEN format('L{}.i{}', c.member_layer, c.member)
        ELSE c.kind
    END AS wanted,
    f.description,
    c.place,
    c.nearest,
    c.farthest,
    c.absent,
    c.at_least,
    c.n_features,
    c.n_rules,
    c.features,
    c.example
FROM conditions AS c
LEFT JOIN vocabulary AS v ON c.kind = 'token' AND c.member = v.token_id
LEFT JOIN input_features AS f ON c.kind = 'feature' AND c.member_layer = f.layer AND c.member = f.feature
ORDER BY c.n_features DESC, c.n_rules DESC, c.example ASC, wanted ASC, c.place ASC, c.nearest ASC
LIMIT $limit;
