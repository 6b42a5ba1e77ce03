-- Grain: an absence rule of a feature of a page.
-- Reads: absence_summary
SELECT *
FROM absence_summary
WHERE
    layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
    AND distractor_feature IS NOT NULL
ORDER BY feature ASC, confirmed DESC, status = 'tested' DESC, pair ASC;
