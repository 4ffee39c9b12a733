-- All matches of a job in the order of finding, whatever other jobs found meanwhile.
CREATE INDEX retrohunt_match_job ON retrohunt_match (job_id, id);
