-- What follows from a sample's content alone; see store/meta_facts.h. A table of its
-- own, so that reading a file's row never touches it.
CREATE TABLE file_facts (
	file_id INTEGER PRIMARY KEY REFERENCES file (id),
	tags    TEXT NOT NULL, -- blank-separated: '64bits overlay'
	facts   TEXT NOT NULL  -- JSON object; '' where extraction failed
) STRICT;
