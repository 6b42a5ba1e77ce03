-- Grain: the test on the model of what the feature makes it say, if there was one.
-- Reads: output_tests
SELECT
    status,
    n_examples,
    n_controlled,
    mean_activation,
    final_scale,
    promoted_raise,
    promoted_raise_low,
    promoted_raise_high,
    promoted_excess,
    promoted_excess_low,
    promoted_excess_high,
    next_raise,
    next_raise_low,
    next_raise_high,
    next_excess,
    next_excess_low,
    next_excess_high,
    n_tokens,
    n_confirmed,
    n_random,
    n_random_confirmed
FROM output_tests
WHERE layer = $layer AND head = $head AND feature = $feature;
