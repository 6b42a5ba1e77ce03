-- Grain of the deletion: an output feature of $features whose rules are found or tested anew.
-- Writes: stated_tests
DELETE FROM stated_tests
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]));
