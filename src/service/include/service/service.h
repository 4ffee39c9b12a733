#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H
#include <stdint.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/io.h"
#include "service/quota.h"
#include "store/pack.h"
#include "store/sql.h"
#include "store/writer.h"

/*
 * The whole of weir below HTTP, opened over one data folder: database, packs,
 * writer, scan children, live rules, workers. Knows no HTTP; the server, the
 * command line and the tests all stand on it.
 *
 * Life: service_open, then any number of calls from any thread, then
 * service_close, which stops claiming, waits for what is under way, gives leases
 * back and closes the stores in reverse order.
 *
 * One data folder has one owner: service_open takes a lock on `DATA/lock`
 * (ERR_BUSY, naming the holder's process id, if another has it).
 */
struct service;

struct service_options {
	const char *data;         /* the folder; made if missing */
	struct io *io;            /* NULL: the real one. Tests lose power through it */
	const char *vfs;          /* SQLite VFS; NULL: the default */
	struct clock *clock;      /* NULL: the system's */
	const char *scan_program; /* see scan_pool_options.program */
	uint32_t workers; /* hunting workers, one scan child each; 0: do not hunt, only store */
	uint32_t retrohunt_workers;     /* the same for Retrohunt jobs, if `workers` is not 0 */
	uint32_t retrohunt_rules_max;   /* of a job */
	uint32_t retrohunt_jobs_max;    /* running at a time, of a user */
	uint64_t retrohunt_matches_max; /* of a job: then it ends */
	uint32_t retrohunt_split_ms;    /* cheaper jobs are scanned with one set; 0: none is */
	uint64_t hunt_bytes_max;        /* larger files complete unhunted, with the reason */
	uint64_t disk_reserve_bytes;
	uint64_t scan_memory_max;
	uint32_t scan_timeout_ms;
	uint32_t suspects_max; /* in memory; those beyond wait in the queue */
	uint32_t compile_timeout_ms;
	uint64_t live_text_max; /* bytes of rules that are compiled together */
	uint32_t retention_days;
	uint64_t ruleset_limit_default; /* notifications a rolling day */
	uint32_t group_delay_us;
	struct {
		uint32_t depth_max;       /* containers in containers; 0: none is opened */
		uint64_t entries_max;     /* of one container, and of all below one that was sent */
		uint64_t bytes_max;       /* the same */
		uint64_t entry_bytes_max; /* larger files inside are left out */
		uint32_t ratio_max;       /* unpacked to packed, above UNPACK_RATIO_FLOOR */
		uint32_t timeout_ms;      /* processor time of one container */
	} unpack;
	struct {
		bool on;                   /* have an index and write it; false: there is none */
		uint64_t memory_bytes;     /* for what becomes one segment */
		uint32_t seconds;          /* that a file waits for others, at most */
		uint32_t fill_max;         /* see index/signature.h */
		uint32_t threads;          /* that read and sign samples */
		uint32_t features_version; /* of what is indexed of features; 0: nothing */
		uint32_t merge_fan;        /* segments of one size that become one */
		uint32_t rest_seconds;     /* without new files, then fewer do; 0: never */
		uint32_t docs_max;         /* files of a segment … */
		uint64_t bytes_max;        /* … and bytes of its file: beyond it is not merged */
		bool repairs;              /* drop segments that exclude each other, don't refuse */
	} index;
	int64_t quotas[QUOTA_COUNT]; /* of users without their own; QUOTA_UNLIMITED */
	uint32_t audit_retention_days;
	uint64_t audit_rows_max;
	bool unsafe_no_sync; /* for benchmarks that show what syncs cost */
};
/* What expands to less than this is no bomb, however small it was. */
enum {
	UNPACK_RATIO_FLOOR = 64 << 20
};
struct service_options service_options_default(const char *data);

MUST_USE int service_open(struct service **ret, const struct service_options *options,
			  struct err *err);
void service_close(struct service *svc);
/* Nobody waits for an answer any more: service_close ends what is being compiled, too. */
void service_forsake(struct service *svc);

/* Parts, for the modules of this layer and for read-only queries above it. */
struct sql_db *service_db(struct service *svc);
struct writer *service_writer(struct service *svc);
struct packs *service_packs(struct service *svc);
struct clock *service_clock(struct service *svc);
const struct service_options *service_get_options(const struct service *svc);

/*
 * A MAC (HMAC-SHA256) over these bytes with a secret of the data folder, so that
 * what left us can be known again, after a restart too. `purpose` keeps apart
 * what is signed for different ends; at most 32 characters. Any thread.
 */
void service_sign(struct service *svc, const char *purpose, const void *p, size_t n,
		  uint8_t ret[32]);

/* Blocking work off the HTTP loops: a bounded pool. ERR_BUSY when its queue is full. */
MUST_USE int service_run(struct service *svc, void (*fn)(void *arg), void *arg, struct err *err);

/*
 * Wait until every queued analysis is completed. For commands that hunt without
 * a server and for tests; not on the writer's thread.
 */
void service_drain(struct service *svc);

/* Ready to serve; *ret_why (static) says what is missing otherwise. */
bool service_is_ready(struct service *svc, const char **ret_why);
#endif
