-- A sum that has the same bits in whatever order its addends come, so at any number of threads: whole multiples of 2^-48
-- are added in 128 bits. Addends above 32 keep every bit of a double, smaller ones are rounded by less than 2e-15; sums
-- up to 6e23 fit.
CREATE MACRO exact_units(addend) AS round(addend * 281474976710656)::HUGEINT;
CREATE MACRO exact_sum(addend) AS sum(main.exact_units(addend)) / 281474976710656;
COMMENT ON MACRO exact_units IS 'A number in whole multiples of 2^-48, whose sums do not depend on their order: sum(exact_units(activation))';
COMMENT ON MACRO exact_sum IS 'The sum of numbers, the same bits in any order of the rows and at any number of threads: exact_sum(activation)';
