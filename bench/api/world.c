#include "api/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/load.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/thread.h"
#include "service/files.h"
#include "stream_data.h"

enum {
	PIECE = 100,  /* sightings in one request: SQLite's savepoints grow slow with their pages */
	PIECES = 100, /* requests under way, which are committed together */
	FILE_BYTES = 4096,
	UNDER_WAY_MAX = 2000,  /* uploads while the files are stored */
	RETENTION_DAYS = 3650, /* the data is a year old at one end: nothing may go */
};

void must(int rc, const char *what, const struct err *err)
{
	if (rc)
		die(what, err->msg);
}

/* ---- Time ---- */

static int64_t start_mono_us;

static int64_t data_unix_us(struct clock *c)
{
	(void)c;
	return STREAM_DATA_NOW * 1000000 + clock_mono_us(clock_system()) - start_mono_us;
}

static int64_t data_mono_us(struct clock *c)
{
	(void)c;
	return clock_mono_us(clock_system());
}

static struct clock data_clock = { data_unix_us, data_mono_us };

/* ---- A service with its API ---- */

static void key_path(const char *data, char *path, size_t n)
{
	snprintf(path, n, "%s/bench.key", data);
}

/* A folder's own key, made at its first use. */
static void world_key(struct world *w, const char *data)
{
	char path[4096];
	struct err err;
	FILE *f;

	key_path(data, path, sizeof path);
	f = fopen(path, "r");
	if (f) {
		if (fread(w->key, 1, USER_KEY_CHARS, f) != USER_KEY_CHARS)
			die(path, "too short");
		fclose(f);
		return;
	}
	must(user_add(w->svc, STR("hunter"), ROLE_HUNTER, STR(""), NULL, w->key, &err), "user",
	     &err);
	f = fopen(path, "w");
	if (!f || fwrite(w->key, 1, USER_KEY_CHARS, f) != USER_KEY_CHARS || fclose(f) != 0)
		die(path, strerror(errno));
}

void world_open(struct world *w, const struct world_options *options)
{
	struct service_options o = service_options_default(options->data);
	/* Requests are logged as the server does it, to nowhere. */
	struct api_options api = { .address = "127.0.0.1",
				   .threads = options->loops,
				   .log_requests = true };
	struct err err;

	*w = (struct world){ .svc = NULL };
	if (start_mono_us == 0)
		start_mono_us = clock_mono_us(clock_system());
	o.clock = &data_clock;
	o.workers = options->workers;
	o.unsafe_no_sync = options->unsafe_no_sync;
	o.retention_days = RETENTION_DAYS;
	must(service_open(&w->svc, &o, &err), "opening the service", &err);
	world_key(w, options->data);
	must(api_open(&w->api, w->svc, &api, &err), "opening the API", &err);
	w->port = api_port(w->api);
}

void world_close(struct world *w)
{
	api_close(w->api, 1000);
	service_close(w->svc);
}

void world_request(const struct world *w, struct buf *out, const char *method, struct str path)
{
	buf_add_z(out, method);
	buf_add_c(out, ' ');
	buf_add_str(out, path);
	buf_add_z(out, " HTTP/1.1\r\nHost: 127.0.0.1\r\nx-apikey: ");
	buf_add(out, w->key, USER_KEY_CHARS);
	buf_add_z(out, "\r\nAccept: */*\r\nUser-Agent: weir-bench\r\n");
}

/* ---- The data ---- */

/* Text and noise, its own for each number. */
static void file_bytes(unsigned i, char out[FILE_BYTES])
{
	struct rand_seq r = { i + UINT64_C(1000000) };
	size_t n = (size_t)snprintf(out, FILE_BYTES, "sample %u of the benchmark\n", i);

	for (; n + 8 <= FILE_BYTES; n += 8) {
		uint64_t v = rand_next(&r);

		memcpy(out + n, &v, 8);
	}
	memset(out + n, 0, FILE_BYTES - n);
}

void world_file_id(unsigned i, char hex[65])
{
	char bytes[FILE_BYTES];
	uint8_t sha256[SHA256_BYTES];

	file_bytes(i, bytes);
	sha256_of(bytes, sizeof bytes, sha256);
	hex_encode(sha256, SHA256_BYTES, hex);
}

struct flight {
	struct lock lock;
	struct cond moved;
	unsigned under_way;
};

static void stored(const struct upload_outcome *outcome, int rc, const struct err *err, void *arg)
{
	struct flight *f = arg;

	(void)outcome;
	must(rc, "storing", err);
	lock_take(&f->lock);
	f->under_way--;
	cond_signal(&f->moved);
	lock_drop(&f->lock);
}

static void flight_wait(struct flight *f, unsigned max)
{
	lock_take(&f->lock);
	while (f->under_way > max)
		cond_wait(&f->moved, &f->lock);
	lock_drop(&f->lock);
}

static void fill_files(struct service *svc)
{
	struct flight f = { .under_way = 0 };
	struct upload_options options = { .lane = LANE_BULK,
					  .corpus = STR("main"),
					  .interface = "ingest",
					  .bytes_max = FILE_BYTES };
	struct err err;

	lock_init(&f.lock, LOCK_TEST);
	cond_init(&f.moved);
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		char bytes[FILE_BYTES], name[64];
		struct upload *u;

		snprintf(name, sizeof name, "invoice-%05u.bin", i);
		options.name = str_of(name);
		file_bytes(i, bytes);
		flight_wait(&f, UNDER_WAY_MAX);
		lock_take(&f.lock);
		f.under_way++;
		lock_drop(&f.lock);
		must(upload_new(&u, svc, &options, &err), "upload", &err);
		must(upload_add(u, bytes, sizeof bytes, &err), "upload", &err);
		must(upload_finish(u, stored, &f, &err), "upload", &err);
	}
	flight_wait(&f, 0);
	service_drain(svc); /* analysed */
	cond_release(&f.moved);
	lock_release(&f.lock);
}

struct fill {
	struct write_req req; /* first */
	struct rand_seq *rand;
	int64_t owner_id;
	uint64_t from;
};

static int fill_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct fill *f = (struct fill *)req;
	int64_t seq;

	for (uint64_t i = f->from; i < f->from + PIECE; i++)
		TRY(stream_data_add(conn, f->rand, f->owner_id, i, WORLD_SIGHTINGS, &seq, err));
	return 0;
}

static void fill_done(struct write_req *req, int rc, const struct err *err)
{
	(void)req;
	must(rc, "adding", err);
}

static void fill_stream(struct service *svc)
{
	struct fill *pieces = mem_must_zalloc(PIECES * sizeof *pieces);
	struct rand_seq rand = { STREAM_DATA_SEED };
	struct user owner;
	struct err err;

	must(user_get(svc, STR("hunter"), &owner, &err), "user", &err);
	for (uint64_t i = 0; i < WORLD_SIGHTINGS; i += PIECE) {
		size_t at = i / PIECE % PIECES;
		struct fill *f = &pieces[at];

		*f = (struct fill){ .req = { .apply = fill_apply, .lane = LANE_BULK },
				    .rand = &rand,
				    .owner_id = owner.id,
				    .from = i };
		if (at < PIECES - 1) {
			f->req.done = fill_done;
			must(writer_submit(service_writer(svc), &f->req, &err), "adding", &err);
		} else { /* in order, so all before it are done too */
			must(writer_call(service_writer(svc), &f->req, &err), "adding", &err);
		}
	}
	free(pieces);
}

static void fill(const char *path)
{
	const struct world_options options = { .data = path, .workers = 2, .unsafe_no_sync = true };
	int64_t start = now_us();
	struct world w;

	fprintf(stderr, "making %u files and %u notifications in %s\n", WORLD_FILES,
		WORLD_SIGHTINGS, path);
	world_open(&w, &options);
	fill_files(w.svc);
	fprintf(stderr, "files: %.0f s\n", (double)(now_us() - start) / 1e6);
	fill_stream(w.svc);
	world_close(&w);
	sync();
	fprintf(stderr, "all: %.0f s\n", (double)(now_us() - start) / 1e6);
}

static void cache_folder(char *path, size_t n)
{
	const char *at = getenv("WEIR_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
		   *home = getenv("HOME");

	if (at)
		snprintf(path, n, "%s", at);
	else if (xdg)
		snprintf(path, n, "%s/weir", xdg);
	else
		snprintf(path, n, "%s/.cache/weir", home ? home : "/tmp");
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		die(path, strerror(errno));
}

void world_data(char *path, size_t n)
{
	char folder[3800], made[4096];

	cache_folder(folder, sizeof folder);
	snprintf(path, n, "%s/bench-api-%s", folder, BENCH_DATA_KEY);
	if (access(path, F_OK) == 0)
		return;
	/* Under another name until it is whole. */
	snprintf(made, sizeof made, "%s/bench-api-%s.%d", folder, BENCH_DATA_KEY, (int)getpid());
	fill(made);
	if (rename(made, path) != 0)
		die(path, strerror(errno));
}
