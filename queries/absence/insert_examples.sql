-- Grain: an example of a pair.
-- Reads: found_examples
-- Writes: distractor_examples
INSERT INTO distractor_examples BY NAME
SELECT
    $layer AS layer,
    $head AS head,
    $scaling AS scaling,
    f.* EXCLUDE (n_of_kind)
FROM found_examples AS f;
