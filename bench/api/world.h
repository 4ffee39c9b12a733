#ifndef BENCH_API_WORLD_H
#define BENCH_API_WORLD_H
#include "api/api.h"
#include "base/buf.h"
#include "service/users.h"

/*
 * A service with the API on it in this process, over a data folder. What is
 * stored is dated by a clock that stands where the data of stream_data.h ends and
 * goes on from there, so that a folder kept for a later run has not aged.
 */
struct world {
	struct service *svc;
	struct api *api;
	uint16_t port;
	char key[USER_KEY_CHARS + 1]; /* of "hunter" */
};

struct world_options {
	const char *data;
	unsigned loops; /* HTTP loop threads; 0: one per processor */
	unsigned workers;
	bool unsafe_no_sync;
};

void world_open(struct world *w, const struct world_options *options);
void world_close(struct world *w);

/* "METHOD PATH HTTP/1.1" and what goes with it, up to the blank line, which is not there yet. */
void world_request(const struct world *w, struct buf *out, const char *method, struct str path);

enum {
	WORLD_FILES = 20000,
	WORLD_SIGHTINGS = 1000000,
};
/*
 * The folder with WORLD_FILES analysed files and, of the same user, a stream of
 * WORLD_SIGHTINGS. Made where it is not there yet; kept in the cache ($WEIR_CACHE,
 * $XDG_CACHE_HOME/weir or ~/.cache/weir) under the schema's and the data's checksum.
 */
void world_data(char *path, size_t n);
/* The id of its i-th file in hex. */
void world_file_id(unsigned i, char hex[65]);

void must(int rc, const char *what, const struct err *err);
#endif
