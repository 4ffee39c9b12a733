-- Containers: which samples are inside which, and analyses that wait for those of
-- what is inside.

-- An analysis made because another one found the file inside its own. Such a one is
-- joined by nobody; `stage` 1 of a claimed one: all is done but what is inside is not.
ALTER TABLE analysis ADD COLUMN parent_id INTEGER REFERENCES analysis (id) ON DELETE SET NULL;
ALTER TABLE analysis ADD COLUMN root_id INTEGER; -- the one at the top; NULL: it is that itself
ALTER TABLE analysis ADD COLUMN depth INTEGER NOT NULL DEFAULT 0; -- containers around it
CREATE UNIQUE INDEX analysis_inside ON analysis (parent_id, file_id) WHERE parent_id IS NOT NULL;
CREATE INDEX analysis_inside_open ON analysis (parent_id) WHERE parent_id IS NOT NULL AND state < 2;

-- Found inside at any time; the same bytes under two names are two rows.
CREATE TABLE bundle (
	id        INTEGER PRIMARY KEY,
	parent_id INTEGER NOT NULL REFERENCES file (id),
	child_id  INTEGER NOT NULL REFERENCES file (id),
	name      TEXT NOT NULL, -- path inside, cleaned
	first_s   INTEGER NOT NULL,
	UNIQUE (parent_id, child_id, name)
) STRICT;
CREATE INDEX bundle_parent ON bundle (parent_id, id);
CREATE INDEX bundle_child ON bundle (child_id, id);

-- What the last analysis of a container says of it.
CREATE TABLE bundle_info (
	file_id INTEGER PRIMARY KEY REFERENCES file (id),
	listing TEXT NOT NULL, -- JSON members that unpacking knows
	tags    TEXT NOT NULL, -- blank-separated, of the same
	report  TEXT NOT NULL, -- the whole JSON object, once what is inside was identified
	report_tags TEXT NOT NULL
) STRICT;

-- One row for each analysis at the top while anything of it is under way.
CREATE TABLE unpacking (
	analysis_id INTEGER PRIMARY KEY REFERENCES analysis (id) ON DELETE CASCADE,
	entries     INTEGER NOT NULL DEFAULT 0, -- files kept so far, at all depths
	bytes       INTEGER NOT NULL DEFAULT 0, -- theirs
	password    TEXT                        -- that opens it; gone with the row
) STRICT;
