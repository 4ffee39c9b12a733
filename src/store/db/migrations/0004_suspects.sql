-- Analyses whose scan harmed a child and that wait, back in the queue, to be looked into.
ALTER TABLE analysis ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0 CHECK (suspect IN (0, 1, 2));
	-- 0 no, 1 it killed a child, 2 it exceeded its time
DROP INDEX analysis_queued;
CREATE INDEX analysis_queued ON analysis (lane, id) WHERE state = 0 AND suspect = 0;
CREATE INDEX analysis_suspect ON analysis (id) WHERE state = 0 AND suspect > 0;
