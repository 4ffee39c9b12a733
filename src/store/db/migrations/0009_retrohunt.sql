-- Retrohunt: jobs, what of them is still to do, and what they found.

-- How many files there are by corpus and run of 65,536 ids, so that a job knows at once
-- what it has before it.
CREATE TABLE file_run (
	corpus TEXT NOT NULL,
	run    INTEGER NOT NULL, -- file.id / 65536
	files  INTEGER NOT NULL CHECK (files >= 0),
	bytes  INTEGER NOT NULL CHECK (bytes >= 0),
	PRIMARY KEY (corpus, run)
) STRICT, WITHOUT ROWID;
INSERT INTO file_run (corpus, run, files, bytes)
SELECT corpus, id / 65536, count(*), sum(size) FROM file GROUP BY corpus, id / 65536;
CREATE TRIGGER file_run_insert AFTER INSERT ON file BEGIN
	INSERT INTO file_run (corpus, run, files, bytes) VALUES (new.corpus, new.id / 65536, 1, new.size)
	ON CONFLICT (corpus, run) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER file_run_delete AFTER DELETE ON file BEGIN
	UPDATE file_run SET files = files - 1, bytes = bytes - old.size
	WHERE corpus = old.corpus AND run = old.id / 65536;
END;

-- A deleted job's row stays, empty: its name is never given out again, and notifications
-- can still be found by it.
CREATE TABLE retrohunt_job (
	id             INTEGER PRIMARY KEY,
	name           TEXT NOT NULL UNIQUE, -- what clients know it by: <user>-<seconds>
	owner_id       INTEGER NOT NULL REFERENCES user (id),
	rules          TEXT NOT NULL,
	rule_count     INTEGER NOT NULL,
	corpus         TEXT NOT NULL CHECK (corpus IN ('main', 'goodware')),
	emails         TEXT NOT NULL, -- JSON array of strings
	start_s        INTEGER,       -- of last submissions, both included; NULL: open
	end_s          INTEGER,
	status         TEXT NOT NULL
		CHECK (status IN ('starting', 'running', 'aborting', 'aborted', 'finished')),
	created_s      INTEGER NOT NULL,
	started_s      INTEGER,
	finished_s     INTEGER,
	-- the snapshot
	last_id        INTEGER NOT NULL, -- highest id of a file that is looked at
	live_from      INTEGER NOT NULL, -- intake position: analyses above it came later
	files          INTEGER NOT NULL, -- all of the corpus up to last_id
	bytes          INTEGER NOT NULL,
	-- of tasks that are done
	files_done     INTEGER NOT NULL DEFAULT 0,
	bytes_done     INTEGER NOT NULL DEFAULT 0,
	verified_files INTEGER NOT NULL DEFAULT 0,
	verified_bytes INTEGER NOT NULL DEFAULT 0,
	skipped        INTEGER NOT NULL DEFAULT 0, -- files that were not scanned
	failed         INTEGER NOT NULL DEFAULT 0, -- of those: not for their size
	-- of everything that was committed
	matches        INTEGER NOT NULL DEFAULT 0, -- pairs of file and rule
	matching_files INTEGER NOT NULL DEFAULT 0,
	reason         TEXT, -- of an end that is not complete
	error          TEXT, -- what went wrong, for the owner
	ruleset_id     INTEGER, -- made by keep_watching
	deleted        INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1, 2)) -- 1: rows are left
) STRICT;
CREATE INDEX retrohunt_job_owner ON retrohunt_job (owner_id, id) WHERE deleted = 0;
CREATE INDEX retrohunt_job_open ON retrohunt_job (id)
	WHERE status IN ('starting', 'running', 'aborting');
CREATE INDEX retrohunt_job_deleted ON retrohunt_job (id) WHERE deleted = 1;

-- What is still to do: ranges of ids of files. A task that is done has no row.
CREATE TABLE retrohunt_task (
	job_id        INTEGER NOT NULL REFERENCES retrohunt_job (id),
	number        INTEGER NOT NULL,
	first_id      INTEGER NOT NULL, -- both included
	last_id       INTEGER NOT NULL,
	lease_owner   TEXT,             -- NULL: nobody is at it
	lease_until_s INTEGER,
	PRIMARY KEY (job_id, number),
	CHECK (first_id <= last_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX retrohunt_task_waiting ON retrohunt_task (job_id, number) WHERE lease_owner IS NULL;

-- In the order of finding. The file may be gone since.
CREATE TABLE retrohunt_match (
	id        INTEGER PRIMARY KEY,
	job_id    INTEGER NOT NULL REFERENCES retrohunt_job (id),
	file_id   INTEGER NOT NULL,
	rule      TEXT NOT NULL,
	sha256    BLOB NOT NULL CHECK (length(sha256) = 32),
	is_inside INTEGER NOT NULL CHECK (is_inside IN (0, 1)), -- it is in a file inside this one
	is_first  INTEGER NOT NULL CHECK (is_first IN (0, 1)),  -- of its file
	UNIQUE (job_id, file_id, rule)
) STRICT;
CREATE INDEX retrohunt_match_file ON retrohunt_match (job_id, id) WHERE is_first = 1;

-- Some of the files that were not scanned; their number is with the job.
CREATE TABLE retrohunt_skipped (
	job_id  INTEGER NOT NULL REFERENCES retrohunt_job (id),
	file_id INTEGER NOT NULL,
	sha256  BLOB NOT NULL CHECK (length(sha256) = 32),
	reason  TEXT NOT NULL,
	PRIMARY KEY (job_id, file_id)
) STRICT, WITHOUT ROWID;

-- Rulesets that go on where a job's snapshot ended; outlives the job.
CREATE TABLE retrohunt_watch (
	ruleset_id INTEGER PRIMARY KEY REFERENCES ruleset (id),
	job_id     INTEGER NOT NULL REFERENCES retrohunt_job (id),
	live_from  INTEGER NOT NULL -- hits of analyses up to this intake position are the job's
) STRICT;
CREATE INDEX retrohunt_watch_job ON retrohunt_watch (job_id);
