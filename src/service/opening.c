#include "opening.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "bundle.h"
#include "service/files.h"

enum {
	IN_FLIGHT_MAX = 64,  /* files on their way into the database: 64 MB of memory at most */
	API_FILES_MAX = 256, /* of one container are hunted before bulk work, the rest beside it */
	DEATHS_MAX = 2,      /* children that it may kill: the first may have been bad luck */
	WALL_GRACE_MS = 30000, /* waited for a child beyond its processor time: a loaded machine */
	OPENING_ARENA_MAX = 1 << 20,
};

struct opening {
	struct service *svc;
	struct hunt_job *job;
	const _Atomic bool *stopping;
	const struct container *container;
	struct arena *arena;
	struct bundle_ancestor around[BUNDLE_DEPTH_MAX];
	size_t around_count;
	struct bundle_budget used; /* of the root, before this */
	struct unpack_request request;
	struct str passwords[UNPACK_PASSWORDS_MAX];
	bool ratio_decides; /* bytes_max is what the ratio allows */
	struct listing listing;
	/* the file at hand */
	struct upload *upload; /* NULL: no byte of it came yet */
	struct buf path;
	uint64_t files; /* given to the intake */
	/* shared with those who store */
	struct lock lock;
	struct cond changed;
	unsigned in_flight;
	int rc; /* of the first that could not be stored */
	struct err err;
	bool over_budget; /* that was because of the root's limits: err says which */
};

/* ---- What is missing ---- */

void opening_refuse(struct hunt_job *job, const char *fmt, ...)
{
	struct hunt_opened *o = job->opened;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!o) {
		o = arena_must(job->arena, sizeof *o);
		job->opened = o;
	}
	if (o->lack_count == HUNT_LACKS_MAX)
		return;
	o->lacks[o->lack_count++] = arena_str(job->arena, str_of(text));
}

static void note_missing(struct opening *o, const struct unpacked *result)
{
	const struct unpack_limits *limits = &o->request.limits;
	struct hunt_job *job = o->job;

	if (result->missing & MISSING_ENTRIES)
		opening_refuse(job, "there are more than %llu entries: the others were left out",
			       (unsigned long long)limits->entries_max);
	if (result->missing & MISSING_ENTRY_BYTES)
		opening_refuse(job, "files of more than %llu bytes were left out",
			       (unsigned long long)limits->entry_bytes_max);
	if ((result->missing & MISSING_BYTES) && o->ratio_decides)
		opening_refuse(
			job,
			"it expands to more than %u times its size: what is beyond was left out",
			o->svc->options.unpack.ratio_max);
	else if (result->missing & MISSING_BYTES)
		opening_refuse(job, "there are more than %llu bytes: what is beyond was left out",
			       (unsigned long long)limits->bytes_max);
	if (result->missing & MISSING_TIME)
		opening_refuse(job, "it took more than %u ms: what came later was left out",
			       limits->cpu_ms);
	if (result->missing & MISSING_ENCRYPTED)
		opening_refuse(job, "%llu entries are encrypted and no known password opens them",
			       (unsigned long long)(result->encrypted - result->opened));
	if (result->missing & MISSING_DAMAGED)
		opening_refuse(job, "damaged: %s",
			       result->text[0] ? result->text : "it is not whole");
}

/* ---- Storing what is found ---- */

static void file_stored(const struct upload_outcome *outcome, int rc, const struct err *err,
			void *arg)
{
	struct opening *o = arg;

	(void)outcome;
	lock_take(&o->lock);
	if (rc && !o->rc) {
		o->rc = rc;
		o->err = *err;
		o->over_budget = rc == -ERR_TOO_LARGE;
	}
	o->in_flight--;
	cond_signal(&o->changed);
	lock_drop(&o->lock);
}

/* Wait until fewer than `max` are under way; what went wrong with any of them. */
static int wait_stored(struct opening *o, unsigned max, struct err *err)
{
	int rc;

	lock_take(&o->lock);
	while (o->in_flight >= max)
		cond_wait(&o->changed, &o->lock);
	rc = o->rc;
	if (rc && err)
		*err = o->err;
	lock_drop(&o->lock);
	return rc;
}

static bool is_around(const void *arg, const uint8_t sha256[SHA256_BYTES])
{
	const struct opening *o = arg;

	if (memcmp(o->job->row->file.hashes.sha256, sha256, SHA256_BYTES) == 0)
		return true;
	for (size_t i = 0; i < o->around_count; i++) {
		if (memcmp(o->around[i].sha256, sha256, SHA256_BYTES) == 0)
			return true;
	}
	return false;
}

static int begin_file(struct opening *o, struct err *err)
{
	const struct analysis_claimed *row = o->job->row;
	const struct upload_inside inside = {
		.container_id = row->file.id,
		.path = buf_str(&o->path),
		.is_around = is_around,
		.is_around_arg = o,
		.analysis_id = row->id,
		.root_id = row->root_id,
		.submission_id = row->submission_id,
		.depth = row->depth + 1,
		.entries_max = o->svc->options.unpack.entries_max,
		.bytes_max = o->svc->options.unpack.bytes_max,
	};
	const struct upload_options options = {
		.user_id = row->user_id,
		.lane = row->lane == LANE_API && o->files < API_FILES_MAX ? LANE_API : LANE_BULK,
		.name = buf_str(&o->path),
		.corpus = row->file.corpus,
		.interface = "inside",
		.bytes_max = LIMIT_SAMPLE_BYTES,
		.inside = &inside,
	};

	TRY(wait_stored(o, IN_FLIGHT_MAX, err));
	return upload_new(&o->upload, o->svc, &options, err);
}

static int on_entry(void *arg, const struct unpack_entry *entry, struct err *err)
{
	struct opening *o = arg;
	struct str name = entry->name, own = o->job->row->file.last_name;

	if (atomic_load(o->stopping))
		return err_set(err, ERR_CLOSED, "stopping");
	/* What a compressed file holds mostly has no name: it is the container's without ending. */
	if (o->container->is_stream && (name.n == 0 || str_eq_z(name, "data"))) {
		size_t dot = own.n;

		while (dot > 0 && own.p[dot - 1] != '.')
			dot--;
		name = dot > 1 ? str_make(own.p, dot - 1) : own;
	}
	buf_reset(&o->path);
	bundle_path(&o->path, name);
	listing_entry(&o->listing, entry, buf_str(&o->path));
	return 0;
}

static int on_bytes(void *arg, const void *p, size_t n, struct err *err)
{
	struct opening *o = arg;

	if (atomic_load(o->stopping))
		return err_set(err, ERR_CLOSED, "stopping");
	if (!o->upload)
		TRY(begin_file(o, err));
	listing_bytes(&o->listing, p, n);
	return upload_add(o->upload, p, n, err);
}

/* A file is whole, or damaged but better than nothing. An empty one is not kept. */
static int on_end(void *arg, enum unpack_end how, struct err *err)
{
	struct opening *o = arg;
	struct upload *upload = STEAL(o->upload);

	if (!upload)
		return 0;
	if (how != UNPACK_WHOLE && how != UNPACK_DAMAGED) {
		upload_free(upload);
		return 0;
	}
	o->files++;
	lock_take(&o->lock);
	o->in_flight++;
	lock_drop(&o->lock);
	int rc = upload_finish(upload, file_stored, o, err);

	if (rc) {
		lock_take(&o->lock);
		o->in_flight--;
		lock_drop(&o->lock);
	}
	return rc;
}

/* ---- The whole ---- */

static int read_place(struct opening *o, struct err *err)
{
	const struct analysis_claimed *row = o->job->row;
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, o->svc->db, err));
	rc = bundle_budget_get(conn, row->root_id, o->arena, &o->used, err);
	if (rc == 0 && row->parent_id)
		rc = bundle_ancestors(conn, row->id, o->around, &o->around_count, err);
	sql_reader_give(o->svc->db, conn);
	return rc;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void set_limits(struct opening *o)
{
	const struct service_options *options = &o->svc->options;
	struct unpack_limits *limits = &o->request.limits;
	uint64_t ratio = options->unpack.ratio_max * o->job->row->file.size;

	if (ratio < UNPACK_RATIO_FLOOR)
		ratio = UNPACK_RATIO_FLOOR;
	limits->entries_max = options->unpack.entries_max;
	limits->entry_bytes_max = options->unpack.entry_bytes_max;
	limits->bytes_max = less(options->unpack.bytes_max, ratio);
	o->ratio_decides = ratio < options->unpack.bytes_max;
	limits->cpu_ms = options->unpack.timeout_ms;
	limits->timeout_ms = options->unpack.timeout_ms + WALL_GRACE_MS;
	o->request.is_stream = o->container->is_stream;
	if (o->used.password.n)
		o->passwords[o->request.password_count++] = o->used.password;
	o->passwords[o->request.password_count++] = STR("infected");
	o->request.passwords = o->passwords;
}

static int take_child(struct opening *o, struct scan_child **ret, struct err *err)
{
	while (scan_child_take(ret, o->svc->scan, err) != 0) {
		if (atomic_load(o->stopping))
			return err_set(err, ERR_CLOSED, "stopping");
		log_event(LOG_WARN, "scan_child_failed", LOG_Z("error", err->msg));
		hunt_rest(o->svc);
	}
	return 0;
}

/* In a child; again if that is killed from outside, or once if it died of it. */
static int unpack(struct opening *o, struct unpacked *ret, struct err *err)
{
	static const struct unpack_calls calls = { on_entry, on_bytes, on_end };
	unsigned struck = 0, deaths = 0;
	struct scan_child *child;
	bool again;
	int rc;

	do {
		o->listing = (struct listing){ 0 };
		TRY(take_child(o, &child, err));
		rc = scan_unpack(child, &o->job->sample, &o->request, &calls, o, ret, err);
		upload_free(STEAL(o->upload));
		again = struck_again(&struck, rc, child) ||
			(rc == -ERR_DIED && ++deaths < DEATHS_MAX);
		scan_child_give(o->svc->scan, child);
	} while (again && !atomic_load(o->stopping));
	return rc;
}

static void log_opened(const struct opening *o, const struct unpacked *result)
{
	char sha256[2 * SHA256_BYTES + 1];

	metric_add(METRIC_containers_opened_total, 1);
	if (o->job->opened->lack_count == 0)
		return;
	metric_add(METRIC_containers_cut_total, 1);
	hex_encode(o->job->row->file.hashes.sha256, SHA256_BYTES, sha256);
	log_record(LOG_INFO, "container_cut", LOG_Z("sha256", sha256),
		   LOG_I64("files", (int64_t)o->files), LOG_I64("missing", result->missing),
		   LOG_STR("reason", o->job->opened->lacks[0]));
}

/* What the job completes with. */
static void conclude(struct opening *o, const struct unpacked *result)
{
	AUTO(buf_release) struct buf text = BUF_INIT(LISTING_BYTES_MAX);
	struct hunt_opened *opened = o->job->opened;

	note_missing(o, result);
	listing_write(&text, &o->listing, o->container->type, o->container->is_stream, result);
	opened->info.listing = arena_str(o->job->arena, buf_str(&text));
	opened->info.tags = result->encrypted ? STR("encrypted") : STR("");
	opened->info.report = opened->info.report_tags = STR("");
	log_opened(o, result);
}

static int open_it(struct opening *o, struct err *err)
{
	struct unpacked result = { 0 };
	struct err why = { 0 };
	int rc;

	TRY(hunt_job_open(o->job, err));
	TRY(hunt_job_tell(o->job, err));
	TRY(read_place(o, err));
	set_limits(o);
	rc = unpack(o, &result, err);

	/* What is under way points here. */
	int stored = wait_stored(o, 1, &why);

	if (stored && !o->over_budget && rc == 0) {
		*err = why;
		return stored;
	}
	if (rc == -ERR_CLOSED || rc == -ERR_BUSY || atomic_load(o->stopping))
		return rc ? rc : err_set(err, ERR_CLOSED, "stopping");
	if (o->over_budget)
		opening_refuse(o->job, "%s: what is beyond was left out", why.msg);
	else if (rc)
		opening_refuse(o->job, "%s", err->msg);
	if (rc == -ERR_DIED || rc == -ERR_TIMEOUT)
		result = (struct unpacked){ .entries = o->listing.entries };
	conclude(o, &result);
	return 0;
}

int opening_run(struct hunt_job *job, const _Atomic bool *stopping, struct err *err)
{
	struct opening *o = mem_must_zalloc(sizeof *o);
	int rc;

	o->svc = job->svc;
	o->job = job;
	o->stopping = stopping;
	o->container = container_of(job->magic, job->mime);
	REQUIRE(o->container);
	o->arena = arena_new("opening", OPENING_ARENA_MAX);
	o->path = BUF_INIT(2 * UNPACK_NAME_MAX * 3);
	lock_init(&o->lock, LOCK_POOL);
	cond_init(&o->changed);
	job->opened = arena_must(job->arena, sizeof *job->opened);
	rc = open_it(o, err);
	cond_release(&o->changed);
	lock_release(&o->lock);
	buf_release(&o->path);
	arena_free(o->arena);
	free(o);
	return rc;
}
