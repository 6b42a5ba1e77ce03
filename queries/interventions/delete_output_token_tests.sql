-- Grain of the deletion: a token of an output feature of $features that is tested again.
-- Writes: output_token_tests
DELETE FROM output_token_tests
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]));
