-- What users say of themselves, names of keys, quotas, use of the API, and where an
-- audited action came from.

ALTER TABLE user ADD COLUMN profile_phrase TEXT;
ALTER TABLE user ADD COLUMN preferences TEXT NOT NULL DEFAULT '{}'; -- JSON object
CREATE INDEX user_email ON user (email) WHERE email IS NOT NULL;

-- api_key.scope: 'all', or names of service/scopes.def in their order with commas between.
ALTER TABLE api_key ADD COLUMN name TEXT NOT NULL DEFAULT '';

-- A user's own limits; without a row the server's default holds.
CREATE TABLE user_quota (
	user_id INTEGER NOT NULL REFERENCES user (id),
	quota   TEXT NOT NULL,                                -- of service/quotas.def
	allowed INTEGER CHECK (allowed IS NULL OR allowed >= 0), -- NULL: no limit
	PRIMARY KEY (user_id, quota)
) STRICT, WITHOUT ROWID;

-- What was used in the running minute, hour, day and month; a second behind at most.
CREATE TABLE user_used (
	user_id INTEGER NOT NULL REFERENCES user (id),
	quota   TEXT NOT NULL,
	begin_s INTEGER NOT NULL, -- of the minute, hour, day or month that is counted
	used    INTEGER NOT NULL,
	PRIMARY KEY (user_id, quota)
) STRICT, WITHOUT ROWID;

-- Calls that cost something, by day and endpoint; kept for 60 days.
CREATE TABLE user_usage (
	user_id  INTEGER NOT NULL REFERENCES user (id),
	day      INTEGER NOT NULL, -- days since 1970-01-01 UTC
	endpoint TEXT NOT NULL,
	calls    INTEGER NOT NULL,
	PRIMARY KEY (user_id, day, endpoint)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_usage_day ON user_usage (day);

-- What quotas on rules count.
CREATE INDEX ruleset_owner_live ON ruleset (owner_id, rule_count)
	WHERE enabled = 1 AND deleted = 0 AND suspended IS NULL;

ALTER TABLE audit ADD COLUMN address TEXT;    -- of the client; NULL: the server itself
ALTER TABLE audit ADD COLUMN request_id TEXT; -- as in X-Request-Id and the log
DROP INDEX audit_object;
CREATE INDEX audit_object ON audit (object_id, id);
CREATE INDEX audit_date ON audit (date_s);
