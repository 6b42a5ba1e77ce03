-- Grain: one row: the size of what the candidate pairs contribute, and of what all pairs do that were seen.
SELECT
    coalesce(sum(f.kept), 0) AS kept,
    coalesce(sum(f.seen), 0) AS seen
FROM (
    SELECT
        sum(abs(contribution)) AS kept,
        any_value(contribution_of_all) AS seen
    FROM candidate_pairs
    GROUP BY feature
) AS f;
