-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: output_token_tests
DELETE FROM output_token_tests
WHERE layer = $layer AND head = $head;
