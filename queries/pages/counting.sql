-- Grain: a counting rule of a feature of a page.
-- Reads: counting_summary
SELECT *
FROM counting_summary
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
ORDER BY feature ASC, confirmed DESC, information_gain DESC, pair ASC;
