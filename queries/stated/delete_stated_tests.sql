-- Grain of the deletion: a rule of an output feature of $features that is found or tested anew: one of the first $n_rules, any
-- where that is NULL.
-- Writes: stated_tests
DELETE FROM stated_tests
WHERE
    layer = $layer
    AND head = $head
    AND feature IN (SELECT unnest($features::INTEGER[]))
    AND ($n_rules IS NULL OR rank <= $n_rules);
