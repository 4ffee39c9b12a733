#include "service_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "corpus.h"
#include "hunt.h"
#include "index/signature.h"
#include "liveset.h"
#include "report_cache.h"
#include "retrohunt_internal.h"
#include "unpack.h"

enum {
	GROUP_MAX = 512,         /* requests in one commit: some 20 ms of the writer */
	WRITE_QUEUE_MAX = 20000, /* waiting requests; beyond that clients get 503 */
	SPARE_CHILDREN = 8,      /* beside one a worker: builders, compilers, blame, the warm one */
	BULK_DELAY_US = 10000,   /* what nobody waits for: completions while more are hunted */
};

struct service_options service_options_default(const char *data)
{
	const uint32_t processors = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	struct service_options o = {
		.data = data,
		.workers = processors,
		.retrohunt_workers = processors,
		.retrohunt_rules_max = 300,
		.retrohunt_jobs_max = 10,
		.retrohunt_matches_max = 10000,
		.retrohunt_split_ms = 100,
		.hunt_bytes_max = LIMIT_HUNT_BYTES,
		.disk_reserve_bytes = 1ull << 30,
		.scan_memory_max = 2ull << 30,
		.scan_timeout_ms = 90000,
		.suspects_max = 32,
		.compile_timeout_ms = 15000,
		.live_text_max = 480ull << 20, /* a child is given 512 MB of sources at most */
		.retention_days = 365,
		.ruleset_limit_default = 1000000,
		.group_delay_us = 1500,
		.unpack = { .depth_max = 5,
			    .entries_max = 10000,
			    .bytes_max = 1ull << 30,
			    .entry_bytes_max = LIMIT_HUNT_BYTES,
			    .ratio_max = 200,
			    .timeout_ms = 60000 },
		.index = { .on = true,
			   .memory_bytes = 256ull << 20,
			   .seconds = 60,
			   .fill_max = SIGNATURE_FILL_DEFAULT,
			   .threads = processors > 3 ? processors / 2 : 1,
			   .features_version = SCAN_FEATURES_VERSION,
			   .merge_fan = 8,
			   .rest_seconds = 120,
			   .docs_max = 1 << 20,
			   .bytes_max = 8ull << 30 },
		.audit_retention_days = 365,
		.audit_rows_max = 10000000,
	};

	for (unsigned i = 0; i < QUOTA_COUNT; i++)
		o.quotas[i] = QUOTA_UNLIMITED;
	return o;
}

/* ---- Opening, in order ---- */

static int packs_barrier(void *arg, struct err *err)
{
	struct service *svc = arg;

	return svc->options.unsafe_no_sync ? 0 : packs_sync(svc->packs, err);
}

static int open_stores(struct service *svc, struct err *err)
{
	struct packs_options pack_options = PACKS_OPTIONS_DEFAULT;
	struct sql_options sql = { .vfs = svc->options.vfs,
				   .unsafe_no_sync = svc->options.unsafe_no_sync };
	struct writer_options writer = { .barrier = packs_barrier,
					 .barrier_arg = svc,
					 .group_max = GROUP_MAX,
					 .queue_max = WRITE_QUEUE_MAX,
					 .group_delay_us = svc->options.group_delay_us,
					 .bulk_delay_us = BULK_DELAY_US };
	char path[4096];

	if (!svc->io) {
		TRY(io_posix_new(&svc->io, svc->data, err));
		svc->owns_io = true;
	}
	pack_options.reserve_bytes = svc->options.disk_reserve_bytes;
	TRY(packs_open(&svc->packs, svc->io, &pack_options, err));
	snprintf(path, sizeof path, "%s/weir.db", svc->io->root);
	sql.path = path;
	TRY(sql_open(&svc->db, &sql, err));
	return writer_open(&svc->writer, svc->db, &writer, err);
}

static int open_scanning(struct service *svc, struct err *err)
{
	struct scan_pool_options scan = SCAN_POOL_OPTIONS_DEFAULT;

	scan.program = svc->options.scan_program;
	scan.children_max = svc->options.workers + retrohunt_workers(&svc->options) +
			    unpack_threads(&svc->options) + SPARE_CHILDREN;
	scan.memory_max = svc->options.scan_memory_max;
	scan.scan_timeout_ms = svc->options.scan_timeout_ms;
	scan.compile_timeout_ms = svc->options.compile_timeout_ms;
	TRY(scan_pool_open(&svc->scan, &scan, err));
	if (svc->options.workers)
		TRY(liveset_start(svc, err));
	TRY(unpack_start(svc, err));
	TRY(hunt_start(svc, err));
	return retrohunt_start(svc, err);
}

/*
 * Cursors are tied to the folder's key, so that they outlive a restart and nobody
 * can make one; what service_sign signs is tied to another.
 */
static int keys_read(struct service *svc, struct err *err)
{
	TRY(instance_key_read(svc, "cursor.key", &svc->cursor_key, sizeof svc->cursor_key, err));
	return instance_key_read(svc, "sign.key", svc->sign_key, sizeof svc->sign_key, err);
}

static int service_open_parts(struct service *svc, struct err *err)
{
	uint64_t left;
	uint8_t id[16];

	rand_bytes(id, sizeof id);
	hex_encode(id, sizeof id, svc->instance);
	TRY(folder_make(svc->data, err));
	TRY(folder_lock(svc->data, &svc->lock_fd, err));
	TRY(folder_check_whole(svc->data, err));
	backup_snapshot_remove(svc->data); /* one that a crash left */
	TRY(open_stores(svc, err));
	TRY(keys_read(svc, err));
	TRY(pool_new(&svc->pool, POOL_THREADS, err));
	TRY(pool_new(&svc->compilers, COMPILER_THREADS, err));
	TRY(pool_new(&svc->estimators, ESTIMATOR_THREADS, err));
	svc->reports = report_cache_new();
	svc->users = user_cache_new();
	svc->usage = usage_new();
	svc->audit = audit_log_new();
	TRY(files_finish_erasures(svc, &left, err));
	TRY(corpus_start(svc, err));
	TRY(open_scanning(svc, err));
	svc->erasures_left = left > 0;
	return background_start(svc, err);
}

int service_open(struct service **ret, const struct service_options *options, struct err *err)
{
	struct service *svc = mem_must_zalloc(sizeof *svc);
	int rc;

	svc->options = *options;
	svc->data = mem_must_strdup(options->data);
	svc->options.data = svc->data;
	svc->clock = options->clock ? options->clock : clock_system();
	svc->io = options->io;
	svc->lock_fd = -1;
	stored_init(&svc->stored);
	rc = service_open_parts(svc, err);
	if (rc) {
		service_close(svc);
		return rc;
	}
	*ret = svc;
	return 0;
}

/* ---- Closing, in reverse; also of a half-opened one ---- */

static int release_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	(void)req;
	return analysis_release(conn, STR(""), err);
}

static void give_leases_back(struct service *svc)
{
	/* Behind the completions that wait in this lane: they are of analyses still claimed. */
	struct write_req req = { .apply = release_apply, .lane = LANE_BULK };
	struct err err;

	if (writer_call(svc->writer, &req, &err) != 0)
		log_event(LOG_WARN, "leases_kept", LOG_Z("error", err.msg));
}

void service_forsake(struct service *svc)
{
	svc->forsaken = true;
}

void service_close(struct service *svc)
{
	if (!svc)
		return;
	background_stop(svc);
	corpus_stop(svc);
	liveset_cancel(svc);
	hunt_cancel(svc);
	retrohunt_cancel(svc);
	unpack_cancel(svc);
	if (svc->forsaken)
		scan_pool_cancel(svc->scan);
	pool_stop(svc->compilers); /* whoever waits for a compile is answered */
	pool_stop(svc->estimators);
	scan_pool_cancel(svc->scan); /* what is under way is hunted at the next start */
	retrohunt_stop(svc);
	hunt_stop(svc);
	unpack_stop(svc);
	pool_stop(svc->pool);
	liveset_stop(svc);
	if (svc->writer && svc->audit) {
		users_flush(svc);
		usage_flush(svc);
		audit_flush(svc);
	}
	if (svc->writer && svc->hunt)
		give_leases_back(svc);
	writer_close(svc->writer);
	pool_free(svc->compilers);
	pool_free(svc->estimators);
	pool_free(svc->pool); /* the writer hands answers to it until it has stopped */
	unpack_free(svc);
	retrohunt_free(svc);
	hunt_free(svc);
	liveset_free(svc);
	scan_pool_close(svc->scan);
	corpus_free(svc);
	audit_log_free(svc->audit);
	usage_free(svc->usage);
	user_cache_free(svc->users);
	report_cache_free(svc->reports);
	sql_close(svc->db);
	packs_close(svc->packs);
	stored_release(&svc->stored);
	if (svc->owns_io)
		io_posix_free(svc->io);
	if (svc->lock_fd >= 0)
		close(svc->lock_fd);
	free(svc->data);
	free(svc);
}

/* ---- Parts ---- */

struct sql_db *service_db(struct service *svc)
{
	return svc->db;
}

struct writer *service_writer(struct service *svc)
{
	return svc->writer;
}

struct packs *service_packs(struct service *svc)
{
	return svc->packs;
}

struct clock *service_clock(struct service *svc)
{
	return svc->clock;
}

const struct service_options *service_get_options(const struct service *svc)
{
	return &svc->options;
}

int service_run(struct service *svc, void (*fn)(void *arg), void *arg, struct err *err)
{
	return pool_run(svc->pool, fn, arg, err);
}

void service_drain(struct service *svc)
{
	hunt_drain(svc);
}

bool service_is_ready(struct service *svc, const char **ret_why)
{
	struct sql_conn *conn;
	struct err err;

	if (sql_reader_take(&conn, svc->db, &err) != 0) {
		*ret_why = "the database does not answer";
		return false;
	}
	sql_reader_give(svc->db, conn);
	*ret_why = "";
	return true;
}
