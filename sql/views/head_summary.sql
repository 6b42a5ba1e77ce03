-- Grain: a head, or layer, whose output SAE the warehouse holds: what it attends to, and how far rules describe its features.
-- The role of a head is the one whose attention is certain to exceed its control by most, and by a tenth at least.
CREATE VIEW head_summary AS
WITH features AS (
    SELECT
        layer,
        head,
        count(*) AS n_features,
        count(*) FILTER (WHERE n_tokens > 0) AS n_firing
    FROM output_features
    GROUP BY layer, head
),

main_roles AS (
    SELECT
        layer,
        head,
        role,
        attention,
        control
    FROM head_roles
    WHERE attention_low - control >= 0.1
    QUALIFY row_number() OVER (PARTITION BY layer, head ORDER BY attention - control DESC, role ASC) = 1
),

short_lists AS (
    SELECT
        v.layer,
        v.head,
        v.feature,
        arg_max(t.average_precision, v.average_precision) AS average_precision
    FROM rule_metric_values AS v
    INNER JOIN rule_metric_values AS t
        USING (layer, head, feature, method, scaling, example_set, n_rules)
    WHERE
        v.method IN (SELECT m.method FROM methods AS m WHERE m.kind = 'rules') AND v.example_set = 'all_positions' AND v.split = 'train' AND t.split = 'test'
        AND v.n_rules_used <= 16
    GROUP BY v.layer, v.head, v.feature
),

judged AS (
    SELECT
        b.layer,
        b.head,
        count(*) AS n_judged,
        median(b.n_rules_used) AS median_n_rules,
        median(b.base_rate) AS median_base_rate,
        median(b.average_precision) AS median_average_precision,
        median(b.ceiling_average_precision) AS median_ceiling,
        median(s.average_precision) AS median_average_precision_16,
        median(s.average_precision / b.ceiling_average_precision) AS median_share_of_ceiling_16
    FROM best_lists AS b
    LEFT JOIN short_lists AS s ON b.layer = s.layer AND b.head = s.head AND b.feature = s.feature
    WHERE b.example_set = 'all_positions'
    GROUP BY b.layer, b.head
),

absences AS (
    SELECT
        layer,
        head,
        count(DISTINCT feature) AS n_tested,
        count(DISTINCT feature) FILTER (WHERE confirmed) AS n_confirmed,
        avg(chance_confirmed) AS chance_confirmed
    FROM absence_tests
    WHERE status = 'tested'
    GROUP BY layer, head
),

counted AS (
    SELECT
        layer,
        head,
        count(DISTINCT feature) AS n_rules
    FROM counting_rules
    GROUP BY layer, head
),

said AS (
    SELECT
        layer,
        head,
        count(*) FILTER (WHERE says IS NOT NULL) AS n_saying
    FROM rule_right_sides
    GROUP BY layer, head
)

SELECT
    f.layer,
    f.head,
    h.kept_attention_mass,
    r.role,
    r.attention AS role_attention,
    r.control AS role_control,
    f.n_features,
    f.n_firing,
    coalesce(j.n_judged, 0) AS n_judged,
    j.median_n_rules,
    j.median_base_rate,
    j.median_average_precision,
    j.median_ceiling,
    j.median_average_precision_16,
    j.median_share_of_ceiling_16,
    coalesce(a.n_tested, 0) AS n_absence_tested,
    coalesce(a.n_confirmed, 0) AS n_absence_confirmed,
    a.chance_confirmed AS absence_chance,
    coalesce(c.n_rules, 0) AS n_counting_rules,
    coalesce(s.n_saying, 0) AS n_saying
FROM features AS f
LEFT JOIN heads AS h ON f.layer = h.layer AND f.head = h.head
LEFT JOIN main_roles AS r ON f.layer = r.layer AND f.head = r.head
LEFT JOIN judged AS j ON f.layer = j.layer AND f.head = j.head
LEFT JOIN absences AS a ON f.layer = a.layer AND f.head = a.head
LEFT JOIN counted AS c ON f.layer = c.layer AND f.head = c.head
LEFT JOIN said AS s ON f.layer = s.layer AND f.head = s.head;
COMMENT ON VIEW head_summary IS 'Heads, and layers of SAEs over whole layers: their role, how many features fire, how well rules predict them on all test positions, absence and counting';
COMMENT ON COLUMN head_summary.layer IS 'Layer, 0-based';
COMMENT ON COLUMN head_summary.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN head_summary.kept_attention_mass IS 'Mean attention of a query position that attention_sources keeps; NULL for head -1';
COMMENT ON COLUMN head_summary.role IS 'The role of head_roles whose attention exceeds its control by most, if the lower end of its interval does by a tenth; NULL where none does';
COMMENT ON COLUMN head_summary.role_attention IS 'Attention of that role';
COMMENT ON COLUMN head_summary.role_control IS 'Control of that role';
COMMENT ON COLUMN head_summary.n_features IS 'Features of the output SAE';
COMMENT ON COLUMN head_summary.n_firing IS 'Of these, features that are active somewhere';
COMMENT ON COLUMN head_summary.n_judged IS 'Features whose rules were judged on all positions; the medians are over these';
COMMENT ON COLUMN head_summary.median_n_rules IS 'Length of the lists that best_lists chooses';
COMMENT ON COLUMN head_summary.median_base_rate IS 'Share of test positions at which the feature is active';
COMMENT ON COLUMN head_summary.median_average_precision IS 'Average precision of these lists on test';
COMMENT ON COLUMN head_summary.median_ceiling IS 'The same of all input features together (ceiling_from_features); NULL where it was not judged';
COMMENT ON COLUMN head_summary.median_average_precision_16 IS 'Average precision on test of the list of at most 16 rules that is best on train';
COMMENT ON COLUMN head_summary.median_share_of_ceiling_16 IS 'That one as a share of the ceiling';
COMMENT ON COLUMN head_summary.n_absence_tested IS 'Features with an absence rule that was tested by intervention';
COMMENT ON COLUMN head_summary.n_absence_confirmed IS 'Features with one that was confirmed';
COMMENT ON COLUMN head_summary.absence_chance IS 'What chance confirms: mean chance_confirmed of its absence tests; NULL where nothing was tested';
COMMENT ON COLUMN head_summary.n_counting_rules IS 'Features with a counting rule';
COMMENT ON COLUMN head_summary.n_saying IS 'Features for which some evidence says what they make the model say (rule_right_sides)';
