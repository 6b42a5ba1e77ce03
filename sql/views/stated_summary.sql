-- Grain: a stated rule, with what tests on the model say of it. Chance is measured on the tests of one kind in a layer.
CREATE VIEW stated_summary AS
WITH tests AS (
    SELECT
        t.*,
        avg(t.confirmed::INTEGER) FILTER (WHERE t.status = 'tested') OVER like_tests AS confirmed_share,
        avg(t.chance_confirmed) FILTER (WHERE t.status = 'tested') OVER like_tests AS chance_share
    FROM stated_tests AS t
    WINDOW like_tests AS (PARTITION BY t.layer, t.kind)
),

planted AS (
    SELECT t.*
    FROM tests AS t
    WHERE t.kind = 'sufficient'
),

broken AS (
    SELECT
        layer,
        head,
        feature,
        rank,
        count(*) FILTER (WHERE status = 'tested') AS n_atoms_tested,
        count(*) FILTER (WHERE confirmed) AS n_atoms_confirmed,
        min(share) AS least_loss,
        max(control_share) AS largest_control_loss,
        string_agg(DISTINCT status, '; ' ORDER BY status) AS status,
        any_value(confirmed_share) AS confirmed_share,
        any_value(chance_share) AS chance_share
    FROM tests
    WHERE kind = 'necessary'
    GROUP BY layer, head, feature, rank
)

SELECT
    r.layer,
    r.head,
    r.feature,
    r.rank,
    r.statement,
    CASE
        WHEN p.confirmed AND b.n_atoms_confirmed = b.n_atoms_tested AND b.n_atoms_tested > 0
            THEN 'sufficient and necessary'
        WHEN p.confirmed THEN 'sufficient'
        WHEN b.n_atoms_confirmed = b.n_atoms_tested AND b.n_atoms_tested > 0 THEN 'necessary'
        WHEN p.status = 'tested' OR b.n_atoms_tested > 0 THEN 'not confirmed'
        WHEN p.status IS NOT NULL THEN 'not testable'
        ELSE 'not tested'
    END AS verdict,
    p.status AS planted_status,
    p.n_examples AS n_planted,
    p.holds_share,
    p.share AS fires_share,
    p.share_low AS fires_low,
    p.share_high AS fires_high,
    p.control_share AS control_fires_share,
    p.excess_low AS fires_excess_low,
    coalesce(p.confirmed, FALSE) AS is_sufficient,
    b.status AS broken_status,
    b.n_atoms_tested,
    b.n_atoms_confirmed,
    b.least_loss,
    b.largest_control_loss,
    coalesce(b.n_atoms_confirmed = b.n_atoms_tested AND b.n_atoms_tested > 0, FALSE) AS is_necessary,
    p.confirmed_share AS sufficient_share,
    p.chance_share AS sufficient_chance_share,
    b.confirmed_share AS necessary_share,
    b.chance_share AS necessary_chance_share
FROM stated_rules AS r
LEFT JOIN planted AS p ON r.layer = p.layer AND r.head = p.head AND r.feature = p.feature AND r.rank = p.rank
LEFT JOIN broken AS b ON r.layer = b.layer AND r.head = b.head AND r.feature = b.feature AND r.rank = b.rank;
COMMENT ON VIEW stated_summary IS 'Stated rules with the outcome of their tests on the model: planted, does the feature fire; an atom broken, does it fall';
COMMENT ON COLUMN stated_summary.layer IS 'Layer, 0-based';
COMMENT ON COLUMN stated_summary.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN stated_summary.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN stated_summary.rank IS 'Place within the feature, from 1';
COMMENT ON COLUMN stated_summary.statement IS 'The condition in the language of stated rules';
COMMENT ON COLUMN stated_summary.verdict IS 'sufficient, necessary, both, not confirmed, not testable (no test could be made, see the statuses), or not tested (attnrules intervene --stated was not run on it)';
COMMENT ON COLUMN stated_summary.planted_status IS 'tested, or why the rule could not be planted';
COMMENT ON COLUMN stated_summary.n_planted IS 'Neutral contexts in which it was planted and judged';
COMMENT ON COLUMN stated_summary.holds_share IS 'Share of the planted contexts in which the rule holds then: only these are judged';
COMMENT ON COLUMN stated_summary.fires_share IS 'Share of the contexts in which the feature becomes active';
COMMENT ON COLUMN stated_summary.fires_low IS 'Lower end of its 95% bootstrap interval over sequences';
COMMENT ON COLUMN stated_summary.fires_high IS 'Upper end';
COMMENT ON COLUMN stated_summary.control_fires_share IS 'The same share with neutral tokens at the same places';
COMMENT ON COLUMN stated_summary.fires_excess_low IS 'Lower end of the interval of fires_share minus control_fires_share';
COMMENT ON COLUMN stated_summary.is_sufficient IS 'Whether that is confirmed, as stated_tests.confirmed says';
COMMENT ON COLUMN stated_summary.broken_status IS 'tested, or why atoms could not be broken; all that occur among the atoms';
COMMENT ON COLUMN stated_summary.n_atoms_tested IS 'Atoms that were broken and judged';
COMMENT ON COLUMN stated_summary.n_atoms_confirmed IS 'Of these, confirmed as necessary';
COMMENT ON COLUMN stated_summary.least_loss IS 'Share of the activation that is lost when an atom is broken, the least of the atoms';
COMMENT ON COLUMN stated_summary.largest_control_loss IS 'The same share with other tokens replaced, the largest of the atoms';
COMMENT ON COLUMN stated_summary.is_necessary IS 'Whether every atom that could be tested is confirmed, and there is one';
COMMENT ON COLUMN stated_summary.sufficient_share IS 'Share of the tested rules of the layer that are confirmed as sufficient';
COMMENT ON COLUMN stated_summary.sufficient_chance_share IS 'Share of the controls of these tests that would be confirmed in the place of a rule: what chance confirms';
COMMENT ON COLUMN stated_summary.necessary_share IS 'Share of the tested atoms of the layer that are confirmed as necessary';
COMMENT ON COLUMN stated_summary.necessary_chance_share IS 'Share of the controls of these tests that would be confirmed in the place of an atom';
