#ifndef SERVICE_SERVICE_INTERNAL_H
#define SERVICE_SERVICE_INTERNAL_H
#include "base/hash.h"
#include "base/rand.h"
#include "base/thread.h"
#include "scan/scan.h"
#include "service/service.h"

struct hunt;
struct retrohunt;
struct unpack_stage;
struct liveset;
struct corpus;
struct pool;
struct user_cache;
struct usage;
struct audit_log;
struct account;
struct audit_by;
struct ruleset_row;
struct crash_report;

/*
 * Samples whose bytes are stored and whose rows are not yet. Whoever appends to the packs holds one
 * from before until the outcome of the commit is known: meanwhile the record may become a file's.
 */
enum {
	STORED_GARBAGE_MAX = 1024 /* more wait for 'weir verify --reclaim' */
};
struct stored_hold {
	struct stored_hold *prev, *next;
	uint64_t number; /* rising; 0: not held */
};
struct stored_holds {
	struct lock lock;
	struct cond left;
	struct stored_hold *first, *last;
	uint64_t number;
	struct pack_locator garbage[STORED_GARBAGE_MAX]; /* records that are no file's */
	size_t garbage_n;
};

/* See service.h. Members are set up in this order and torn down in reverse. */
struct service {
	struct service_options options;
	char *data;           /* owned copy of options.data */
	char instance[33];    /* lease owner: random for each start */
	uint64_t cursor_key;  /* see stream_cursor_key */
	uint8_t sign_key[32]; /* see service_sign */
	int lock_fd;
	struct clock *clock;
	struct io *io;
	bool owns_io;
	bool forsaken;
	struct packs *packs;
	struct sql_db *db;
	struct writer *writer;
	struct pool *compilers;  /* users' rules, each compiled alone: slow ones wait for each other
				    only */
	struct pool *estimators; /* the same of estimates, which nobody else waits for */
	struct pool *pool;       /* blocking work */
	struct scan_pool *scan;
	struct corpus *corpus; /* the index: which segments there are */
	struct report_cache *reports;
	struct user_cache *users;
	struct usage *usage;
	struct audit_log *audit;
	struct liveset *live;
	struct unpack_stage *unpack;
	struct hunt *hunt;
	struct retrohunt *retrohunt;
	_Atomic bool backup_runs;
	_Atomic bool erasures_left; /* that failed; the background thread tries again */
	struct stored_holds stored;
	struct background *background; /* bulk deletions, retention, user activity */
};

/* ---- folder.c: the data folder and its lock ---- */
/* There while a restore makes the folder. */
extern const char folder_restoring[];
MUST_USE int folder_make(const char *path, struct err *err); /* if it is missing */
/* *ret_fd: the lock, held until closed. ERR_BUSY, naming the holder. */
MUST_USE int folder_lock(const char *data, int *ret_fd, struct err *err);
/* ERR_CORRUPT: a restore was interrupted in it. */
MUST_USE int folder_check_whole(const char *data, struct err *err);

/* ---- backup.c ---- */
/* Remove the copy of the database that a backup made and did not live to remove. */
void backup_snapshot_remove(const char *data);

/* ---- pool.c: a bounded queue and a few threads for work that blocks ---- */
enum {
	POOL_THREADS = 8,
	POOL_QUEUE_MAX = 4096,
	COMPILER_THREADS = 3,
	ESTIMATOR_THREADS = 2
};
MUST_USE int pool_new(struct pool **ret, unsigned threads, struct err *err);
void pool_stop(struct pool *p); /* runs what is queued; from then on pool_run is ERR_CLOSED */
void pool_free(struct pool *p);
MUST_USE int pool_run(struct pool *p, void (*fn)(void *arg), void *arg, struct err *err);

/* ---- files.c ---- */
/* An MD5, SHA-1 or SHA-256 in hex; false: none. */
bool file_hash_parse(struct str id, uint8_t out[SHA256_BYTES], size_t *ret_n);

/* ---- removal.c ---- */
struct analysis_info;
struct analysis_row;
struct analysis_info analysis_info_of(const struct analysis_row *row);

/* ---- user_auth.c ---- */
struct user_cache *user_cache_new(void);
void user_cache_free(struct user_cache *c);
/* Something about accounts has changed: everybody looks into the database again. */
void user_cache_empty(struct user_cache *c);
/* Write last-use times that have gathered. Called each second by the background thread. */
void users_flush(struct service *svc);

/* ---- usage.c ---- */
struct usage *usage_new(void);
void usage_free(struct usage *u);
/* The user's counters, read from the database at their first use. */
MUST_USE int account_get(struct service *svc, struct sql_conn *conn, int64_t user_id,
			 struct account **ret, struct err *err);
/* Write the counters that moved. Called each second by the background thread. */
void usage_flush(struct service *svc);

/* ---- users.c ---- */
/* What a user may use up: its own quota or the server's. */
MUST_USE int user_quotas_read(struct service *svc, struct sql_conn *conn, int64_t user_id,
			      int64_t *ret_allowed, unsigned *ret_own, struct err *err);
/*
 * In the writer's transaction: may the owner have the ruleset as it is going to
 * be? `was_rules`: those that it had enabled before the change. ERR_QUOTA.
 */
MUST_USE int user_rules_allowed(struct service *svc, struct sql_conn *conn,
				const struct ruleset_row *row, int64_t was_rules, bool is_new,
				struct err *err);

/* ---- rulesets.c ---- */
/*
 * In the writer's transaction: insert a new ruleset. Its id, owner's name, version,
 * generation and dates are set here. ERR_QUOTA.
 */
MUST_USE int ruleset_insert(struct service *svc, struct sql_conn *conn, struct ruleset_row *row,
			    int64_t now_s, struct arena *arena, struct err *err);

/* ---- audit.c ---- */
struct audit_log *audit_log_new(void);
void audit_log_free(struct audit_log *a);
/* Write the lines that wait. Called each second by the background thread. */
void audit_flush(struct service *svc);

/* ---- background.c: one thread for what is worked off slowly ---- */
struct background;
MUST_USE int background_start(struct service *svc, struct err *err);
void background_stop(struct service *svc);
/* Is it asked to stop? For long work on its thread. */
bool background_stops(struct service *svc);
/* There may be something to do now. */
void background_wake(struct service *svc);

/*
 * A child killed from outside is no proof against what it was at, so that is done
 * again; so many in a row are. `tries` counts from 0.
 */
enum {
	STRUCK_TRIES = 5
};
static inline bool struck_again(unsigned *tries, int rc, const struct scan_child *child)
{
	return rc == -ERR_DIED && scan_child_is_struck(child) && ++*tries < STRUCK_TRIES;
}

/* ---- keys.c ---- */
/*
 * The n random bytes (at most 64) of the file `name` in the data folder, made and
 * made durable at the first start. Before anything else uses them.
 */
MUST_USE int instance_key_read(struct service *svc, const char *name, void *ret, size_t n,
			       struct err *err);

/* ---- removal.c ---- */
/* Erase what is noted as still to be erased; what cannot be is logged and counted. */
MUST_USE int files_finish_erasures(struct service *svc, uint64_t *ret_left, struct err *err);
/*
 * Erase a record that is no file's and will be none; it is noted first, so that one
 * begun is finished, at the next start if not before. A record that is a file's, or
 * noted already, is left alone. Not on the writer's thread: two commits and three syncs.
 */
MUST_USE int files_erase_garbage(struct service *svc, const struct pack_locator *at,
				 struct err *err);

/* ---- stored.c ---- */
void stored_init(struct stored_holds *s);
void stored_release(struct stored_holds *s);
void stored_enter(struct service *svc, struct stored_hold *h); /* again is fine */
void stored_leave(struct service *svc, struct stored_hold *h); /* fine if not held */
/*
 * Have a record erased that is no file's and will be none, when there is time. What
 * a stop loses of these stays in the packs, as harmless as before.
 */
void stored_garbage_add(struct service *svc, const struct pack_locator *at);
bool stored_garbage_take(struct service *svc, struct pack_locator *ret); /* false: none */
struct task;
/* Until everyone who holds one now has left. false: the task is to stop. */
bool uploads_wait(struct service *svc, struct task *task);
#endif
