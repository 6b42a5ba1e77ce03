-- Grain: a file of the corpus that was read.
CREATE TABLE corpus_files (
    file_id INTEGER NOT NULL,
    file VARCHAR NOT NULL,
    n_bytes BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL
);
COMMENT ON TABLE corpus_files IS 'The files that were read for the sequences; reading is a little ahead of them. Empty where it is not known: before schema version 3, and for datasets streamed from the hub without a copy on disk';
COMMENT ON COLUMN corpus_files.file_id IS 'Place in the order of reading, 0-based';
COMMENT ON COLUMN corpus_files.file IS 'Name inside the folder or hub repository; the name alone where the corpus is one file';
COMMENT ON COLUMN corpus_files.n_bytes IS 'Size of the file as it is stored, in bytes';
COMMENT ON COLUMN corpus_files.sha256 IS 'Digest of the file as it is stored';
