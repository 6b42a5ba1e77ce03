-- How descriptions write a token and a share.
CREATE MACRO token_label(token) AS '''' || replace(replace(replace(token, chr(10), '\n'), chr(13), '\r'), chr(9), '\t') || '''';
CREATE MACRO share_label(share) AS round(100 * share)::INTEGER || '%';
COMMENT ON MACRO token_label IS 'A token in quotes, line breaks and tabs spelt out: token_label(token)';
COMMENT ON MACRO share_label IS 'A share as a percentage: share_label(0.5)';
