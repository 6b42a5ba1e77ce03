-- Grain: an example of a mined feature.
INSERT INTO examples BY NAME
FROM new_examples;
