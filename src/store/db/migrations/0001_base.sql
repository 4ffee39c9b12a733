-- The first schema. Columns ending in _s are seconds since 1970 UTC; generations,
-- intake positions and sequences are counted by the one writer in commit order.

-- Counters that only the writer moves, in the transaction they count.
CREATE TABLE counter (
	name  TEXT PRIMARY KEY, -- 'generation', 'intake', 'sighting', 'sighting_date', 'id'
	value INTEGER NOT NULL  -- the last one given out
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value)
VALUES ('generation', 0), ('intake', 0), ('sighting', 0), ('sighting_date', 0), ('id', 0);

CREATE TABLE setting (
	name  TEXT PRIMARY KEY, -- 'instance_id', …
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Accounts

CREATE TABLE user (
	id         INTEGER PRIMARY KEY,
	name       TEXT NOT NULL UNIQUE,
	role       TEXT NOT NULL CHECK (role IN ('viewer', 'hunter', 'editor', 'admin')),
	email      TEXT,
	first_name TEXT,
	last_name  TEXT,
	created_s  INTEGER NOT NULL,
	disabled   INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1))
) STRICT;

CREATE TABLE api_key (
	hash        BLOB PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256 of the key; the key is nowhere
	user_id     INTEGER NOT NULL REFERENCES user (id),
	scope       TEXT NOT NULL DEFAULT 'all',
	created_s   INTEGER NOT NULL,
	expires_s   INTEGER, -- NULL: never
	last_used_s INTEGER,
	revoked     INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_user ON api_key (user_id);

-- Samples

CREATE TABLE file (
	id                 INTEGER PRIMARY KEY,
	sha256             BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
	sha1               BLOB NOT NULL CHECK (length(sha1) = 20),
	md5                BLOB NOT NULL CHECK (length(md5) = 16),
	size               INTEGER NOT NULL, -- bytes
	corpus             TEXT NOT NULL DEFAULT 'main',
	pack               INTEGER NOT NULL,
	pack_offset        INTEGER NOT NULL, -- of the first byte in the pack
	first_submission_s INTEGER NOT NULL,
	last_submission_s  INTEGER NOT NULL,
	times_submitted    INTEGER NOT NULL DEFAULT 1,
	unique_sources     INTEGER NOT NULL DEFAULT 1, -- distinct users who sent it
	last_name          TEXT NOT NULL DEFAULT '',   -- the one it was sent under last
	last_analysis_s    INTEGER, -- NULL: not analysed yet
	file_type          INTEGER,
	magic              TEXT,
	mime               TEXT,
	state              INTEGER NOT NULL DEFAULT 0,
	report             TEXT -- JSON attributes object as it goes into answers; last, for it can be long
) STRICT;
CREATE INDEX file_sha1 ON file (sha1);
CREATE INDEX file_md5 ON file (md5);
CREATE INDEX file_pack ON file (pack, pack_offset);

CREATE TABLE file_name (
	file_id INTEGER NOT NULL REFERENCES file (id),
	name    TEXT NOT NULL,
	first_s INTEGER NOT NULL,
	last_s  INTEGER NOT NULL,
	PRIMARY KEY (file_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE submission (
	id         INTEGER PRIMARY KEY,
	file_id    INTEGER NOT NULL REFERENCES file (id),
	user_id    INTEGER REFERENCES user (id), -- NULL: the operator's own ingest
	date_s     INTEGER NOT NULL,
	name       TEXT,
	interface  TEXT NOT NULL CHECK (interface IN ('api', 'ingest')),
	source_key TEXT
) STRICT;
CREATE INDEX submission_file ON submission (file_id, id);
CREATE INDEX submission_user ON submission (user_id, id);

-- The queue and record of analyses. Ids are never given out twice, so that their
-- order is the order of arrival for ever.
CREATE TABLE analysis (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	file_id       INTEGER NOT NULL REFERENCES file (id),
	submission_id INTEGER REFERENCES submission (id),
	lane          INTEGER NOT NULL CHECK (lane IN (0, 1)), -- 0 api, 1 bulk
	intake        INTEGER NOT NULL UNIQUE,                 -- position in commit order
	state         INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2)), -- queued, claimed, completed
	generation    INTEGER,          -- of the live set it was claimed with
	lease_owner   TEXT,
	lease_until_s INTEGER,
	attempts      INTEGER NOT NULL DEFAULT 0,
	stage         INTEGER NOT NULL DEFAULT 0,
	created_s     INTEGER NOT NULL,
	completed_s   INTEGER,
	not_run       TEXT              -- JSON array: what was not run and why; NULL: all was
) STRICT;
CREATE INDEX analysis_queued ON analysis (lane, id) WHERE state = 0;
CREATE INDEX analysis_claimed ON analysis (lease_until_s) WHERE state = 1;
CREATE INDEX analysis_file ON analysis (file_id, id);
CREATE INDEX analysis_submission ON analysis (submission_id);

-- Rulesets

CREATE TABLE ruleset (
	id          INTEGER PRIMARY KEY,
	owner_id    INTEGER NOT NULL REFERENCES user (id),
	name        TEXT NOT NULL,
	rules       TEXT NOT NULL,
	version     INTEGER NOT NULL DEFAULT 1, -- grows with each change of rules
	generation  INTEGER NOT NULL,           -- of the last change
	enabled     INTEGER NOT NULL DEFAULT 0 CHECK (enabled IN (0, 1)),
	limit_day   INTEGER NOT NULL,           -- matches told in any 24 hours
	entity      TEXT NOT NULL DEFAULT 'file' CHECK (entity IN ('file', 'url', 'domain', 'ip_address')),
	emails      TEXT NOT NULL DEFAULT '[]', -- JSON array of strings, as the next two
	tags        TEXT NOT NULL DEFAULT '[]',
	rule_names  TEXT NOT NULL DEFAULT '[]',
	rule_count  INTEGER NOT NULL DEFAULT 0,
	created_s   INTEGER NOT NULL,
	modified_s  INTEGER NOT NULL,
	scheduled_disable_s INTEGER,
	suspended   TEXT,                       -- reason; NULL: not suspended
	deleted     INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1))
) STRICT;
CREATE INDEX ruleset_owner ON ruleset (owner_id, id) WHERE deleted = 0;
CREATE INDEX ruleset_owner_name ON ruleset (owner_id, name, id) WHERE deleted = 0;
CREATE INDEX ruleset_owner_created ON ruleset (owner_id, created_s, id) WHERE deleted = 0;
CREATE INDEX ruleset_owner_modified ON ruleset (owner_id, modified_s, id) WHERE deleted = 0;
CREATE INDEX ruleset_live ON ruleset (entity, id) WHERE enabled = 1 AND deleted = 0;
CREATE INDEX ruleset_disable ON ruleset (scheduled_disable_s) WHERE scheduled_disable_s IS NOT NULL;

-- The text of each version, kept while a generation may need it.
CREATE TABLE ruleset_version (
	ruleset_id INTEGER NOT NULL REFERENCES ruleset (id),
	version    INTEGER NOT NULL,
	rules      TEXT NOT NULL,
	PRIMARY KEY (ruleset_id, version)
) STRICT;

-- The log of changes to rulesets.
CREATE TABLE generation (
	number          INTEGER PRIMARY KEY,
	ruleset_id      INTEGER NOT NULL REFERENCES ruleset (id),
	ruleset_version INTEGER NOT NULL,
	change          TEXT NOT NULL
		CHECK (change IN ('create', 'edit', 'enable', 'disable', 'delete', 'suspend')),
	date_s          INTEGER NOT NULL
) STRICT;
CREATE INDEX generation_ruleset ON generation (ruleset_id, number);

-- What is not run: a sample with a ruleset's version, or (ruleset 0) the sample at all.
CREATE TABLE quarantine (
	file_id         INTEGER NOT NULL REFERENCES file (id),
	ruleset_id      INTEGER NOT NULL,
	ruleset_version INTEGER NOT NULL,
	reason          TEXT NOT NULL,
	date_s          INTEGER NOT NULL,
	PRIMARY KEY (file_id, ruleset_id, ruleset_version)
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_ruleset ON quarantine (ruleset_id, ruleset_version);

-- The stream

-- Labels as of the match: entries outlive their ruleset and its name. Never deleted: a
-- label is small, and finding its last sighting would cost an index.
CREATE TABLE source_label (
	id          INTEGER PRIMARY KEY,
	owner_id    INTEGER NOT NULL,
	source_kind INTEGER NOT NULL,
	source_id   INTEGER NOT NULL,
	label       TEXT NOT NULL,
	kinds       INTEGER NOT NULL, -- bits of the entity kinds it was ever seen with
	UNIQUE (owner_id, source_kind, source_id, label)
) STRICT;

-- One append-only log. seq has no gaps when written; retention leaves holes.
CREATE TABLE sighting (
	seq         INTEGER PRIMARY KEY,
	date_s      INTEGER NOT NULL, -- never smaller than the one before
	owner_id    INTEGER NOT NULL,
	source_kind INTEGER NOT NULL CHECK (source_kind BETWEEN 1 AND 4),
		-- 1 hunting_ruleset, 2 retrohunt_job, 3 collection, 4 threat_actor
	source_id   INTEGER NOT NULL,
	label_id    INTEGER NOT NULL REFERENCES source_label (id),
	entity_kind INTEGER NOT NULL CHECK (entity_kind BETWEEN 1 AND 4),
		-- 1 file, 2 url, 3 domain, 4 ip_address
	entity_id   BLOB NOT NULL,    -- SHA-256 of file and url, else the text's bytes
	rule        TEXT NOT NULL,    -- '' where the source has no rules
	tags        TEXT NOT NULL,    -- JSON array, normalised
	info        TEXT,             -- hunting_info, a JSON object; NULL for subscriptions
	analysis_id INTEGER,
	state       INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1)), -- live, tombstone
	UNIQUE (source_kind, source_id, entity_kind, entity_id, rule)
) STRICT;
-- The kinds stand before seq, so that every pair of them is one run in order of seq.
CREATE INDEX sighting_owner ON sighting (owner_id, seq) WHERE state = 0;
CREATE INDEX sighting_kinds ON sighting (owner_id, source_kind, entity_kind, seq) WHERE state = 0;
CREATE INDEX sighting_label ON sighting (label_id, entity_kind, seq) WHERE state = 0;
CREATE INDEX sighting_entity ON sighting (owner_id, entity_id, seq) WHERE state = 0;
CREATE INDEX sighting_date ON sighting (date_s, seq);

-- Each owner's tags once: few, so that patterns can be tried on all of them.
CREATE TABLE stream_tag (
	id       INTEGER PRIMARY KEY,
	owner_id INTEGER NOT NULL,
	tag      TEXT NOT NULL, -- normalised
	UNIQUE (owner_id, tag)
) STRICT;

-- Of live sightings; without the tag that is the entity's own SHA-256.
CREATE TABLE sighting_tag (
	tag_id INTEGER NOT NULL, -- of stream_tag, whose rows stay
	seq    INTEGER NOT NULL,
	PRIMARY KEY (tag_id, seq)
) STRICT, WITHOUT ROWID;

-- Live sightings by source, entity kind and day; kept with every insert and delete.
-- source_id 0: all sources of the kind.
CREATE TABLE stream_count (
	owner_id    INTEGER NOT NULL,
	source_kind INTEGER NOT NULL,
	source_id   INTEGER NOT NULL,
	entity_kind INTEGER NOT NULL,
	day         INTEGER NOT NULL, -- days since 1970-01-01 UTC
	live        INTEGER NOT NULL CHECK (live >= 0),
	PRIMARY KEY (owner_id, source_kind, source_id, entity_kind, day)
) STRICT, WITHOUT ROWID;

-- Deletions by filter: they hold when read, at once, and are worked off later.
CREATE TABLE stream_delete (
	id       INTEGER PRIMARY KEY,
	owner_id INTEGER NOT NULL REFERENCES user (id),
	filter   TEXT NOT NULL, -- with its dates frozen
	seq_max  INTEGER NOT NULL,
	date_s   INTEGER NOT NULL,
	done     INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1))
) STRICT;
CREATE INDEX stream_delete_open ON stream_delete (owner_id, id) WHERE done = 0;

-- Housekeeping

-- Bytes of removed samples that are still to be overwritten in their pack.
CREATE TABLE erase (
	id          INTEGER PRIMARY KEY,
	pack        INTEGER NOT NULL,
	pack_offset INTEGER NOT NULL,
	len         INTEGER NOT NULL -- bytes
) STRICT;

CREATE TABLE audit (
	id          INTEGER PRIMARY KEY,
	date_s      INTEGER NOT NULL,
	user_id     INTEGER, -- NULL: the operator or the server itself
	action      TEXT NOT NULL,
	object_type TEXT NOT NULL,
	object_id   TEXT NOT NULL,
	detail      TEXT     -- JSON object
) STRICT;
CREATE INDEX audit_object ON audit (object_type, object_id, id);
CREATE INDEX audit_user ON audit (user_id, id);
