-- Files that a job should have scanned come before those that were too large for it.
ALTER TABLE retrohunt_skipped ADD COLUMN is_failure INTEGER NOT NULL DEFAULT 0
	CHECK (is_failure IN (0, 1));
UPDATE retrohunt_skipped SET is_failure = 1 WHERE reason NOT LIKE 'the file has %';
CREATE INDEX retrohunt_skipped_order ON retrohunt_skipped (job_id, is_failure DESC, file_id);
