#include "hunt.h"

#include "base/metric.h"
#include "match_info.h"
#include "store/meta_limit.h"
#include "store/meta_live.h"
#include "store/meta_retrohunt.h"
#include "store/stream.h"

/* Matches become sightings, on the writer's thread, under their rulesets' limits. */

enum {
	TELLER_ARENA_MAX = 16 * 1024, /* a ruleset's name */
};

/* Where a match is told: on the file itself, then on every container around it. */
struct places {
	size_t n;
	struct place {
		uint8_t sha256[SHA256_BYTES];
		int64_t analysis_id;
		bool inside; /* the match is in a file inside this one */
	} at[1 + BUNDLE_DEPTH_MAX];
};

static int places_read(struct sql_conn *conn, const struct hunt_job *job, struct places *ret,
		       struct err *err)
{
	struct bundle_ancestor around[BUNDLE_DEPTH_MAX];
	size_t n = 0;

	if (job->row->parent_id)
		TRY(bundle_ancestors(conn, job->row->id, around, &n, err));
	ret->n = 1 + n;
	ret->at[0] = (struct place){ .analysis_id = job->row->id };
	memcpy(ret->at[0].sha256, job->row->file.hashes.sha256, SHA256_BYTES);
	for (size_t i = 0; i < n; i++) {
		ret->at[1 + i] =
			(struct place){ .analysis_id = around[i].analysis_id, .inside = true };
		memcpy(ret->at[1 + i].sha256, around[i].sha256, SHA256_BYTES);
	}
	return 0;
}

/* The sighting that this hit would be, without tags. */
static struct sighting_new sighting_of(const struct hunt_hit *hit, const struct place *place,
				       const struct live_teller *teller)
{
	return (struct sighting_new){
		.owner_id = teller->owner_id,
		.source_kind = STREAM_RULESET,
		.source_id = hit->ruleset_id,
		.label = teller->name,
		.entity_kind = STREAM_FILE,
		.entity_id = str_make(place->sha256, SHA256_BYTES),
		.rule = hit->rule,
		.info = place->inside ? hit->info_inside : hit->info,
		.analysis_id = place->analysis_id,
	};
}

/* Did the job that the ruleset goes on from tell it? */
static int job_has_told(struct sql_conn *conn, const struct retrohunt_watch *watch,
			struct sighting_new sighting, bool *ret, struct err *err)
{
	*ret = false;
	if (!watch->job_id)
		return 0;
	sighting.source_kind = STREAM_RETROHUNT;
	sighting.source_id = watch->job_id;
	return stream_is_told(conn, &sighting, ret, err);
}

/* Those of one ruleset on one file, under its daily limit; what is beyond it is counted. */
static int tell_ruleset(struct sql_conn *conn, const struct hunt_hit *hits, size_t n,
			const struct place *place, const struct live_teller *teller,
			const struct retrohunt_watch *watch, int64_t now_s, struct err *err)
{
	int64_t told = 0, dropped = 0;
	struct limit_state state;
	bool is_new, is_told;

	TRY(limit_state(conn, hits[0].ruleset_id, now_s, &state, err));
	for (size_t i = 0; i < n; i++) {
		struct sighting_new s = sighting_of(&hits[i], place, teller);

		TRY(job_has_told(conn, watch, s, &is_told, err));
		if (is_told)
			continue;
		if (state.day + told < teller->limit) {
			TRY(match_tell(conn, &s, hits[i].rule_tags, hits[i].rule_tag_count, now_s,
				       &is_new, err));
			told += is_new;
		} else {
			TRY(stream_is_told(conn, &s, &is_told, err));
			dropped += !is_told;
		}
	}
	metric_add(METRIC_sightings_dropped_total, dropped);
	return limit_count(conn, hits[0].ruleset_id, teller->limit, &state, told, dropped, err);
}

static int tell_places(struct sql_conn *conn, const struct hunt_hit *hits, size_t n,
		       const struct places *places, int64_t intake, int64_t now_s, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("teller", TELLER_ARENA_MAX);
	struct retrohunt_watch watch;
	struct live_teller teller;

	TRY(retrohunt_watch_of(conn, hits[0].ruleset_id, &watch, err));
	if (intake <= watch.live_from)
		return 0; /* what arrived by then is the job's to tell */

	TRY(live_teller(conn, hits[0].ruleset_id, now_s, arena, &teller, err));
	if (!teller.may_tell)
		return 0;
	for (size_t i = 0; i < places->n; i++)
		TRY(tell_ruleset(conn, hits, n, &places->at[i], &teller, &watch, now_s, err));
	return 0;
}

int hunt_job_tell_step(struct sql_conn *conn, const struct hunt_job *job, int64_t now_s,
		       struct err *err)
{
	const struct hunt_hit *hits = job->hits + job->told;
	struct places places;
	size_t n;

	if (!job->telling)
		return 0;
	TRY(places_read(conn, job, &places, err));
	for (size_t i = 0; i < job->telling; i += n) {
		for (n = 1; i + n < job->telling && hits[i + n].ruleset_id == hits[i].ruleset_id;)
			n++;
		TRY(tell_places(conn, &hits[i], n, &places, job->row->intake, now_s, err));
	}
	return 0;
}

struct tell_req {
	struct write_req req;
	const struct hunt_job *job;
};

static int tell_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct hunt_job *job = ((struct tell_req *)req)->job;
	bool held;

	TRY(analysis_is_held(conn, job->row->id, str_of(job->svc->instance), &held, err));
	if (!held)
		return err_set(err, ERR_CLOSED, "the analysis was removed");
	return hunt_job_tell_step(conn, job, clock_unix_s(job->svc->clock), err);
}

int hunt_job_tell(struct hunt_job *job, struct err *err)
{
	while (job->told < job->hit_count) {
		struct tell_req tell = { .req = { .apply = tell_apply, .lane = job->row->lane },
					 .job = job };
		size_t left = job->hit_count - job->told;

		job->telling = left < HUNT_STEP_HITS ? left : HUNT_STEP_HITS;
		TRY(writer_call(job->svc->writer, &tell.req, err));
		job->told += job->telling;
		job->telling = 0;
	}
	return 0;
}
