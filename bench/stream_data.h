#ifndef BENCH_STREAM_DATA_H
#define BENCH_STREAM_DATA_H
#include "base/rand.h"
#include "store/stream.h"

/*
 * A stream as a busy user has it, by fixed seed. Nine in ten sightings are of
 * rulesets (files, a tenth of the sets hunt URLs, domains or addresses), the rest
 * of retrohunt jobs, collections and actors. Sets have a popularity that falls as
 * 1/rank, rules one to ten each. A year of dates.
 */
enum {
	STREAM_DATA_SOURCES = 1000,
	STREAM_DATA_SEED = 42,
};
#define STREAM_DATA_START INT64_C(1740000000)
#define STREAM_DATA_YEAR_S INT64_C(31536000)
#define STREAM_DATA_NOW (STREAM_DATA_START + STREAM_DATA_YEAR_S)

/* Sighting `i` of `count`, in order; one generator for all of them. */
MUST_USE int stream_data_add(struct sql_conn *c, struct rand_seq *r, int64_t owner_id, uint64_t i,
			     uint64_t count, int64_t *ret, struct err *err);
#endif
