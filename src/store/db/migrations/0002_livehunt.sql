-- Livehunt: what daily limits let through and dropped, and operations.

-- How many notifications a ruleset had told, and matches its limit had dropped, up to
-- the end of a second: running totals, so that any span is one subtraction.
CREATE TABLE ruleset_told (
	ruleset_id INTEGER NOT NULL,
	date_s     INTEGER NOT NULL,
	told       INTEGER NOT NULL,
	dropped    INTEGER NOT NULL,
	PRIMARY KEY (ruleset_id, date_s)
) STRICT, WITHOUT ROWID;

INSERT INTO ruleset_told (ruleset_id, date_s, told, dropped)
SELECT source_id, date_s, sum(n) OVER (PARTITION BY source_id ORDER BY date_s), 0
FROM (
	SELECT source_id, date_s, count(*) AS n FROM sighting
	WHERE source_kind = 1 AND date_s > (SELECT max(date_s) FROM sighting) - 86400
	GROUP BY source_id, date_s
);

-- When a ruleset was at its limit: from_s <= t < until_s.
CREATE TABLE ruleset_limited (
	ruleset_id INTEGER NOT NULL,
	from_s     INTEGER NOT NULL,
	until_s    INTEGER NOT NULL,
	PRIMARY KEY (ruleset_id, from_s)
) STRICT, WITHOUT ROWID;

-- What is worked off after its request was answered.
CREATE TABLE operation (
	id        INTEGER PRIMARY KEY,
	name      TEXT NOT NULL UNIQUE, -- what clients know it by: hex digits
	user_id   INTEGER NOT NULL REFERENCES user (id),
	kind      TEXT NOT NULL CHECK (kind IN ('delete_hunting_rulesets')),
	status    TEXT NOT NULL CHECK (status IN ('running', 'finished', 'aborted')),
	created_s INTEGER NOT NULL,
	ended_s   INTEGER
) STRICT;
CREATE INDEX operation_running ON operation (id) WHERE status = 'running';
CREATE INDEX operation_user ON operation (user_id, id);

-- What an operation has still to do.
CREATE TABLE operation_target (
	operation_id INTEGER NOT NULL REFERENCES operation (id),
	target_id    INTEGER NOT NULL,
	PRIMARY KEY (operation_id, target_id)
) STRICT, WITHOUT ROWID;
