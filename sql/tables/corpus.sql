-- Grain: the corpus (one row).
CREATE TABLE corpus (
    source VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    text_column VARCHAR NOT NULL,
    seq_len INTEGER NOT NULL,
    keep_long_documents BOOLEAN NOT NULL,
    min_attention DOUBLE NOT NULL,
    resolved_commit VARCHAR,
    lines BOOLEAN,
    special_tokens VARCHAR
);
COMMENT ON TABLE corpus IS 'Where the sequences came from, how they were cut and what was kept of them';
COMMENT ON COLUMN corpus.source IS 'Dataset name or local path as given';
COMMENT ON COLUMN corpus.split IS 'Split of the dataset that was streamed';
COMMENT ON COLUMN corpus.text_column IS 'Column that holds the text of a document';
COMMENT ON COLUMN corpus.seq_len IS 'Tokens in a sequence, BOS included';
COMMENT ON COLUMN corpus.keep_long_documents IS 'Whether the part of a document beyond the context length was kept';
COMMENT ON COLUMN corpus.min_attention IS 'A pair of positions is stored in attention_sources where either weight exceeds this';
COMMENT ON COLUMN corpus.resolved_commit IS 'Hub commit of the dataset at the first ingest, NULL for local files; later ingests read this one';
COMMENT ON COLUMN corpus.lines IS 'Whether each line of a text file was a document, instead of the whole file; NULL where it is not known, before schema version 3 (text files were read by line then)';
COMMENT ON COLUMN corpus.special_tokens IS 'How the text of a special token in a document was read: token or text; NULL before schema version 3, when it was always read as the token';
