-- Grain: the warehouse: how well rules predict the median feature that was judged on all positions, and what the model confirms.
-- Reads: absence_tests, best_lists, counting_tests, rule_right_sides, stated_summary
SELECT
    b.n_judged,
    b.n_rules,
    b.average_precision,
    b.ceiling,
    b.base_rate,
    b.f1,
    s.n_stated,
    s.n_stated_tested,
    s.n_stated_confirmed,
    a.n_absences,
    a.n_absences_confirmed,
    a.by_chance,
    c.n_counting,
    c.n_counting_confirmed,
    o.n_saying
FROM (
    SELECT
        count(*) AS n_judged,
        median(n_rules_used) AS n_rules,
        median(average_precision) AS average_precision,
        median(ceiling_average_precision) AS ceiling,
        median(base_rate) AS base_rate,
        median(f1) AS f1
    FROM best_lists
    WHERE example_set = 'all_positions'
) AS b
CROSS JOIN (
    SELECT
        count(*) AS n_stated,
        count(*) FILTER (WHERE verdict NOT IN ('not tested', 'not testable')) AS n_stated_tested,
        count(*) FILTER (
            WHERE verdict NOT IN ('not tested', 'not testable', 'not confirmed')
        ) AS n_stated_confirmed
    FROM stated_summary
) AS s
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE status = 'tested') AS n_absences,
        count(*) FILTER (WHERE confirmed) AS n_absences_confirmed,
        avg(chance_confirmed) AS by_chance
    FROM absence_tests
) AS a
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE status = 'tested') AS n_counting,
        count(*) FILTER (WHERE confirmed) AS n_counting_confirmed
    FROM counting_tests
) AS c
CROSS JOIN (
    SELECT count(*) AS n_saying
    FROM rule_right_sides
    WHERE says IS NOT NULL AND evidence <> 'in the corpus alone'
) AS o;
