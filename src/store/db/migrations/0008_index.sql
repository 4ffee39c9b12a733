-- The corpus index: which segments there are and what they do not hold any more.

-- Ids of files are never given out again: a segment covers a range of them.
INSERT INTO counter (name, value) SELECT 'file', coalesce(max(id), 0) FROM file;
INSERT INTO counter (name, value) VALUES ('segment', 0);

-- The segments that count; a file in DATA/index without a row is garbage. Ranges do not
-- overlap: the files of a range are all in its segment.
CREATE TABLE segment (
	id               INTEGER PRIMARY KEY,      -- of counter 'segment': index/0000000001.seg
	first_id         INTEGER NOT NULL UNIQUE,  -- of file, both included
	last_id          INTEGER NOT NULL,
	level            INTEGER NOT NULL,         -- merges behind it
	docs             INTEGER NOT NULL,         -- files in it, removed ones included
	bytes            INTEGER NOT NULL,         -- of its file
	sample_bytes     INTEGER NOT NULL,         -- of the files in it
	features_version INTEGER NOT NULL,         -- of the extractor; 0: none
	created_s        INTEGER NOT NULL,
	stale            INTEGER NOT NULL DEFAULT 0 CHECK (stale IN (0, 1)), -- to be built anew
	CHECK (first_id <= last_id)
) STRICT;
CREATE INDEX segment_stale ON segment (id) WHERE stale = 1;

-- Removed files that a segment may still hold, until one is written without them.
CREATE TABLE segment_deleted (
	file_id INTEGER PRIMARY KEY
) STRICT;

-- What rules may ask of a sample beyond its bytes, as hashes; see store/meta_index.h.
CREATE TABLE file_features (
	file_id  INTEGER PRIMARY KEY REFERENCES file (id),
	version  INTEGER NOT NULL,                                    -- of the extractor
	features BLOB NOT NULL CHECK (length(features) % 8 = 0) -- u64s, little-endian
) STRICT;
