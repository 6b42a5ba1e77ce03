-- Grain: an example of a mined feature.
-- Reads: new_examples
-- Writes: examples
INSERT INTO examples BY NAME
FROM new_examples;
