-- How descriptions write a token, a share and a lift.
CREATE MACRO token_label(token) AS '''' || replace(replace(replace(token, chr(10), '\n'), chr(13), '\r'), chr(9), '\t') || '''';
CREATE MACRO share_label(share) AS round(100 * share)::INTEGER || '%';
CREATE MACRO lift_label(lift) AS '×' || CASE WHEN lift < 9.95 THEN format('{:.1f}', lift) ELSE format('{:.0f}', lift) END;
COMMENT ON MACRO token_label IS 'A token in quotes, line breaks and tabs spelt out: token_label(token)';
COMMENT ON MACRO share_label IS 'A share as a percentage: share_label(0.5)';
COMMENT ON MACRO lift_label IS 'How many times more often: lift_label(2.5)';
