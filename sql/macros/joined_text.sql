-- The text of tokens in order. A character may be spread over several tokens, so where one holds parts of characters the
-- bytes of all are put together and cut into characters: the pattern is UTF-8 in hexadecimal, and any other byte alone.
CREATE MACRO bytes_text(bytes) AS array_to_string(
    list_transform(
        regexp_extract_all(
            bytes,
            '[0-7][0-9A-F]|C[2-9A-F][89AB][0-9A-F]|D[0-9A-F][89AB][0-9A-F]|E0[AB][0-9A-F][89AB][0-9A-F]|E[1-9A-CEF]([89AB][0-9A-F]){2}|ED[89][0-9A-F][89AB][0-9A-F]|F0[9AB][0-9A-F]([89AB][0-9A-F]){2}|F[1-3]([89AB][0-9A-F]){3}|F48[0-9A-F]([89AB][0-9A-F]){2}|[0-9A-F]{2}'
        ),
        lambda one: CASE WHEN length(one) = 2 AND one >= '80' THEN '<0x' || one || '>' ELSE decode(unhex(one)) END
    ),
    ''
);
CREATE MACRO joined_text(token, token_bytes, place) AS CASE
    WHEN count(token_bytes) = 0 THEN string_agg(token, '' ORDER BY place)
    ELSE main.bytes_text(string_agg(coalesce(token_bytes, hex(token)), '' ORDER BY place))
END;
COMMENT ON MACRO bytes_text IS 'The text of bytes in hexadecimal, those that are no UTF-8 as <0xE2>: bytes_text(''C3A9'')';
COMMENT ON MACRO joined_text IS 'The text of tokens in order, characters that are spread over several put together: joined_text(token, token_bytes, pos)';
