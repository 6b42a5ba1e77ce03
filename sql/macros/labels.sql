-- How descriptions write a token, a share and a lift, and how the head or layer of an output SAE is written.
CREATE MACRO token_label(token) AS '''' || replace(replace(replace(token, chr(10), '\n'), chr(13), '\r'), chr(9), '\t') || '''';
CREATE MACRO share_label(share) AS round(100 * share)::INTEGER || '%';
CREATE MACRO lift_label(lift) AS '×' || CASE WHEN lift < 9.95 THEN format('{:.1f}', lift) ELSE format('{:.0f}', lift) END;
CREATE MACRO head_label(layer, head) AS 'L' || layer || CASE WHEN head >= 0 THEN 'H' || head ELSE '' END;
COMMENT ON MACRO token_label IS 'A token in quotes, line breaks and tabs spelt out: token_label(token)';
COMMENT ON MACRO share_label IS 'A share as a percentage: share_label(0.5)';
COMMENT ON MACRO lift_label IS 'How many times more often: lift_label(2.5)';
COMMENT ON MACRO head_label IS 'L0H3 for head 3 of layer 0, L0 for head -1, the SAE over the whole layer: head_label(layer, head)';
