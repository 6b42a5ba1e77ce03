-- Grain of the deletion: an output feature of $features that is tested again.
-- Writes: output_tests
DELETE FROM output_tests
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]));
