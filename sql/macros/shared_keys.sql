-- Grain: two features of output SAEs of a layer and how many keys their first of_n_rules rules of a method share. A key counts
-- where it raises both or lowers both; of several heads that it acts through, the one of the largest score says which.
CREATE MACRO shared_keys(of_layer, of_method, of_n_rules) AS TABLE
WITH given (layer, method, n_rules) AS (SELECT of_layer, of_method, of_n_rules),

listed AS (
    SELECT
        r.head,
        r.feature,
        r.key_feature,
        arg_max(r.value_score > 0, abs(r.value_score)) AS raises
    FROM given AS g
    INNER JOIN main.rules AS r ON g.layer = r.layer AND g.method = r.method AND g.n_rules >= r.rank
    GROUP BY r.head, r.feature, r.key_feature
),

sizes AS (
    SELECT
        head,
        feature,
        count(*) AS n_keys
    FROM listed
    GROUP BY head, feature
),

shared AS (
    SELECT
        a.head,
        a.feature,
        b.head AS other_head,
        b.feature AS other_feature,
        count(*) AS n_shared,
        min(a.key_feature) AS example_key
    FROM listed AS a
    INNER JOIN listed AS b ON a.key_feature = b.key_feature AND a.raises = b.raises
    WHERE a.head <> b.head OR a.feature <> b.feature
    GROUP BY a.head, a.feature, b.head, b.feature
)

SELECT
    s.head,
    s.feature,
    s.other_head,
    s.other_feature,
    s.n_shared,
    s.n_shared / (a.n_keys + b.n_keys - s.n_shared) AS share_of_keys,
    s.example_key
FROM shared AS s
INNER JOIN sizes AS a ON s.head = a.head AND s.feature = a.feature
INNER JOIN sizes AS b ON s.other_head = b.head AND s.other_feature = b.feature
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::INTEGER AS head
FROM given AS g
WHERE NOT main.answers_here('$warehouse');
COMMENT ON MACRO TABLE shared_keys IS 'Two features of a layer and the keys that the first rules of both have: shared_keys(layer, method, 16)';
