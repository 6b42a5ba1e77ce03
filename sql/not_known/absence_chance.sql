-- Grain: the warehouse, where tests of absence rules do not say what chance confirms.
SELECT
    format(
        'how often chance would confirm {} tested absence rules (chance_confirmed); attnrules intervene tests them anew',
        count(*)
    ) AS words
FROM absence_tests
WHERE status = 'tested' AND chance_confirmed IS NULL
HAVING count(*) > 0;
