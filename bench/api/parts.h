#ifndef BENCH_API_PARTS_H
#define BENCH_API_PARTS_H
#include "base/buf.h"

/* The three parts; each adds " key=value …" to the line that ends the benchmark. */
struct settings {
	const char *folder; /* for what is written: on the disk that is to be judged */
	unsigned passes;
	unsigned ms; /* a pass of load */
};

enum {
	PASSES_MAX = 50
};

/* GET /files/{id} against libmicrohttpd with a constant of that size. */
void bench_get(const struct settings *s, struct buf *line);
/* Pages of 40 descriptors out of 10^6 notifications. */
void bench_stream(const struct settings *s, struct buf *line);
/* Durable uploads against the same without syncs. */
void bench_uploads(const struct settings *s, struct buf *line);
#endif
