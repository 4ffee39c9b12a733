#ifndef SERVICE_RETROHUNT_INTERNAL_H
#define SERVICE_RETROHUNT_INTERNAL_H
#include "index/plan.h"
#include "rule_split.h"
#include "scan/many.h"
#include "service/retrohunt.h"
#include "service_internal.h"
#include "store/meta_retrohunt.h"

/*
 * The engine behind Retrohunt: jobs under way, and the workers that run them.
 *
 * Invariants
 *  1. A job and its tasks, ranges of file ids that together are its snapshot, are one
 *     transaction. A task is claimed under a lease; the commit that ends it removes it,
 *     moves the job's counters, and ends the job if it was the last one. What is lost
 *     before that is done again: a match is noted and told once, whoever finds it.
 *  2. Every commit of a job looks, in its own transaction, whether the job is live and
 *     the task still ours. So nothing is told after an abort, a deletion or the limit.
 *  3. The next piece of work is one of the job whose workers took the least time so
 *     far, times the jobs of its owner: so users share the machine evenly, and a user's
 *     jobs their owner's share. A piece is short (a batch, a plan, a claim): a batch ends
 *     after RETRO_BATCH_MS with the file that is under way then, and what is left of it
 *     goes back to its task. What a child is at is cut short by its death for an abort.
 *  4. A job in memory is freed when it is over and no worker is in it.
 *  5. A file that kills a scanner or takes too long does it alone the second time, is
 *     then named as skipped, and the job goes on; RETRO_HARM_MAX of them end it, as do
 *     RETRO_LOADS_MAX children in a row that fail before they have its rules.
 *
 *   created --retro_admit--> (compile) --> claim --> plan --> verify … --> over --> freed
 *                                ^           |________________|             ^
 *                         after a restart      task by task      limit, abort, harm
 */
enum {
	RETRO_CLAIM_MAX = 64,  /* tasks claimed in one transaction */
	RETRO_LEASE_S = 3600,  /* one process owns the folder: leases end with it */
	RETRO_JOBS_MAX = 1000, /* open ones, of all users together */
	RETRO_HARM_MAX = 100,  /* files that may harm a scanner before the job gives up */
	/* Compiles of an accepted job's rules that may take too long, each has twice as much time,
	 * or end with the child's death. */
	RETRO_COMPILES_MAX = 5,
	RETRO_LOADS_MAX = 10,    /* children in a row that may fail to load a job's rules: 2 s */
	RETRO_SKIPS_KEPT = 1000, /* files named as skipped of one task; more are counted */
	RETRO_BATCH_FACTS = 64,  /* files of a batch whose facts are in memory with it */
	/*
	 * Of candidates of all jobs together, planned and not verified yet. A plan that may need
	 * more than is left waits until others are through, half of it at most is held.
	 */
	RETRO_ITEMS_BYTES_MAX = 256 << 20,
	RETRO_BATCH_BYTES = 16 << 20, /* scanned in some 20 to 100 ms */
	RETRO_BATCH_MS = 200,         /* where rules are slower */
	RETRO_BACK_MAX = 2 * RETROHUNT_WORKERS_MAX,
	RETRO_RATES = 31,   /* jobs, whose speed is that of estimates */
	RETRO_FILE_US = 30, /* each file costs that beside its bytes */
};

/* A file to verify. */
struct retro_item {
	int64_t file_id;
	uint64_t offset;
	uint32_t len;
	uint32_t pack;
	uint64_t groups; /* of the job's split, that want it; RULE_EVERY_GROUP */
};

struct retro_skip {
	int64_t file_id;
	struct str reason; /* the task's */
};

/* Items that were given out and came back, before item_next. */
struct retro_range {
	size_t from, to;
};

enum retro_task_state {
	RETRO_CLAIMED,
	RETRO_PLANNING,
	RETRO_PLANNED,
	RETRO_DECIDED /* by its plan alone: it is ended with others */
};

/* Members are under the engine's lock, but items and skips while they are made. */
struct retro_task {
	struct retro_task *next;
	struct retrohunt_task_row row;
	enum retro_task_state state;
	struct retro_item *items; /* owned; those that only rules without a hold want last */
	uint64_t items_bytes;     /* that they take, or may take while they are planned */
	size_t item_count;
	size_t item_next; /* those before are given out … */
	unsigned out;     /* … in so many batches under way */
	struct retro_range back[RETRO_BACK_MAX];
	unsigned back_count;
	struct retrohunt_done done;
	struct retrohunt_done planned, shown; /* of done: what the plan decided, the job counts */
	double weight, over;                  /* of the items, and of those that are over */
	struct arena *arena;                  /* of reasons; NULL until there is one */
	struct retro_skip *skips;
	size_t skip_count;
	size_t failure_count; /* so many of them, the first ones, are failures */
};

/* A job's way through its tasks in this process, in bytes, where each file counts as some more. */
struct retro_way {
	int64_t begun_us; /* monotonic; 0: not yet */
	double before;    /* what was decided before */
	double planned;   /* of the tasks that are planned: all their files … */
	double items;     /* … those that are to be verified … */
	double over;      /* … and so many of them are */
};

/* What a job asks; does not change. */
struct retro_job {
	struct retro_job *next;
	struct retrohunt *engine;
	int64_t id;
	int64_t owner_id;
	char name[RETROHUNT_NAME_BYTES];
	char corpus[16];
	int64_t start_s, end_s; /* 0: open */
	int64_t last_id;
	int64_t ruleset_id; /* that watches on; 0: none */
	int64_t files, bytes;
	/* under the lock */
	char *text;                /* of its rules, until they are compiled; owned */
	struct scan_rules *rules;  /* NULL until then; the next two with them */
	struct plan *plan;         /* NULL: every file must be looked at */
	bool asks_facts;           /* rules ask for more than a file's bytes */
	bool is_measured;          /* it is known whether parts may pay (retrohunt_split.h) */
	struct retro_split *split; /* NULL: not yet, or they do not; owned */
	bool compiling, claiming, ending;
	unsigned compile_failures;     /* whoever compiles counts them */
	bool more;                     /* there may be unclaimed tasks */
	struct retro_task *tasks;      /* claimed ones, in order */
	unsigned busy;                 /* workers in it */
	uint32_t peers;                /* open jobs of its owner, with it */
	uint64_t used_us;              /* of workers, times peers */
	double speed_weight, speed_us; /* of its batches, older ones fading */
	struct retro_way way;
	/* Committed or not; what plans decided counts as far as their items are over. */
	struct retrohunt_done done;
	unsigned harm;
	bool over; /* it has ended in the database */
	/* to be set by anyone: end it as soon as nobody is in it */
	_Atomic bool stop;
	char reason[RETROHUNT_REASON_BYTES]; /* "" with stop: it was aborted */
	char error[RETROHUNT_ERROR_BYTES];
};

struct retro_worker {
	struct retrohunt *engine;
	struct thread thread;
	struct scan_child *child; /* set and cleared under the lock; used by the worker alone */
	struct retro_job *job;    /* under the lock: what it is in … */
	int64_t since_us;         /* … and since when that is not accounted for */
	unsigned slot_last;       /* of the child, that was loaded last */
	struct scan_result result;
	struct scan_found found;
};

struct retrohunt {
	struct service *svc;
	struct lock lock;
	struct cond work;
	struct cond idle;
	/* under the lock */
	struct retro_job *jobs;
	size_t job_count;
	uint64_t items_bytes;       /* of all tasks */
	struct estimate *estimates; /* under way */
	struct retro_rate {
		int64_t job_id;
		double bytes, us;
	} rates[RETRO_RATES]; /* of the last jobs, each of which has one voice */
	unsigned rate_next;
	bool stopping;
	unsigned worker_count;
	struct retro_worker workers[RETROHUNT_WORKERS_MAX];
};

/* ---- retrohunt_engine.c ---- */
MUST_USE int retrohunt_start(struct service *svc, struct err *err);
/* From here on nothing is begun. */
void retrohunt_cancel(struct service *svc);
void retrohunt_stop(struct service *svc); /* joins the workers */
void retrohunt_free(struct service *svc); /* after the writer has stopped */
/* Workers as the options say. */
unsigned retrohunt_workers(const struct service_options *options);
/*
 * Begin a job that is in the database. `rules` may be NULL: they are compiled from the
 * row's text. `tasks` are claimed already: all there are, or RETRO_CLAIM_MAX. Takes references
 * of its own. Any thread, also the writer's.
 */
void retro_admit(struct service *svc, const struct retrohunt_row *row, struct scan_rules *rules,
		 struct plan *plan, const struct retrohunt_task_row *tasks, size_t n);
/* Is there room for another? */
bool retro_has_room(struct service *svc);
/* It was aborted or deleted: stop what is under way. false: nothing of it is. */
bool retro_cancel(struct service *svc, int64_t job_id);
/* End one that was aborted or deleted and that nobody is in, without a worker. */
void retro_end_idle(struct service *svc, int64_t job_id);
/* Give up, with a reason for its owner. */
void retro_give_up(struct retro_job *job, const char *reason, const char *error);
bool retro_is_stopping(struct retrohunt *e);
/* Wait a moment, or until stopping, so as not to spin. */
void retro_rest(struct retrohunt *e);
/* What of a job under way is decided, and how far it is. false: it is not under way. */
struct retro_live {
	struct retrohunt_done done;
	struct retro_way way;
};
bool retro_live(struct service *svc, int64_t job_id, struct retro_live *ret);

/* ---- retrohunt_restart.c ---- */
/* Admit the jobs that are not over. Before anybody can make another. */
MUST_USE int retro_restart(struct service *svc, struct err *err);

/* ---- retrohunt_share.c: what takes a job or a task under the lock ---- */
/* What files weigh on a job's way. */
double retro_weight(int64_t files, int64_t bytes);
/* Charge jobs for the time of the workers that are in them. */
void retro_account(struct retrohunt *e);
/* A job of this owner came or went. */
void retro_peers_count(struct retrohunt *e, int64_t owner_id);
/* Items of a planned task that are a batch, to be taken then. false: all are given out. */
bool retro_batch_next(const struct retro_job *job, const struct retro_task *t, size_t *ret_from,
		      size_t *ret_to);
void retro_batch_take(struct retro_task *t, size_t from, size_t to);
/* Some of a batch, which is still counted in t->out, are to be given out again. */
void retro_batch_back(struct retro_task *t, size_t from, size_t to);
/* Nothing of it is left to verify, nor under way. */
bool retro_task_is_over(const struct retro_task *t);
/* Its plan is made; a batch of it was verified, or some of that. */
void retro_task_planned(struct retro_job *job, struct retro_task *task);
void retro_task_verified(struct retro_job *job, struct retro_task *task,
			 const struct retrohunt_done *sum);
/* So much was scanned in so much time of a child. */
void retro_speed_add(struct retro_job *job, const struct retrohunt_done *sum, uint64_t us);
/* Microseconds until a job of so many files is over; less than 0: nobody knows. */
double retro_way_left_us(const struct retro_way *way, int64_t files, int64_t bytes, int64_t now_us);
/* The same for estimates, of a worker with all that it does. */
void retro_rate_add(struct retro_job *job, const struct retrohunt_done *sum, int64_t us);
/* Bytes that a worker scans in a microsecond, in the median of the last jobs; 0: never yet. */
double retro_rate(struct service *svc);

/* ---- retrohunt.c ---- */
/* Check every member and copy it into the arena, but `by`. ERR_INVALID. */
MUST_USE int retro_check(const struct retrohunt_new *ask, struct arena *arena,
			 struct retrohunt_new *ret, struct err *err);
struct ruleset_compiled;
/* Compile what somebody asks for; as ruleset_compile. */
MUST_USE int retro_compile_new(struct service *svc, const struct retrohunt_new *ask,
			       struct arena *arena, struct ruleset_compiled *ret,
			       struct str *messages, struct err *err);
/* Was it taken back? NULL is fine. */
bool retro_wish_is_over(struct retrohunt_wish *w);

/* ---- retrohunt_list.c ---- */
/* A row as its owner sees it; with `look` as it stands while it is under way. */
void retro_job_of_row(struct service *svc, const struct retrohunt_row *row, bool look,
		      struct retrohunt_job *ret);

/* ---- retrohunt_plan.c ---- */
/* The tasks of a new job. On the writer's connection. */
MUST_USE int retro_tasks_make(struct sql_conn *conn, int64_t job_id, struct str corpus,
			      int64_t last_id, struct err *err);
/* What the rules ask of a sample; NULL: nobody knows. The caller's reference. */
struct plan *retro_plan_of(const struct scan_rules *rules);
/* Fill task->items, skips and done with what its range holds. */
MUST_USE int retro_task_plan(struct retro_job *job, struct retro_task *task, struct err *err);
/*
 * Memory for what a plan of the task may leave, of what all jobs may have together; it is put
 * aside until retro_items_keep says what was taken. Under the lock.
 */
bool retro_items_fit(const struct retro_job *job, const struct retro_task *task);
void retro_items_reserve(struct retro_job *job, struct retro_task *task);
void retro_items_keep(struct retro_job *job, struct retro_task *task, uint64_t bytes);
/* Note that a file is not scanned. `is_failure`: it should have been. Under the lock, or alone. */
void retro_task_skip(struct retro_task *task, int64_t file_id, const char *reason, bool is_failure);
/* The same for a failure, told of the job, too. Takes the lock. */
void retro_file_skip(struct retro_job *job, struct retro_task *task, int64_t file_id,
		     const char *reason);
void retro_task_free(struct retro_task *task);
/* What files matches are told on. Its text is the job's. */
struct retrohunt_scope retro_scope(const struct retro_job *job);

/* ---- retrohunt_step.c ---- */
enum retro_step_kind {
	STEP_NONE,
	STEP_COMPILE,
	STEP_PART,
	STEP_CLAIM,
	STEP_PLAN,
	STEP_VERIFY,
	STEP_END
};
struct retro_step {
	enum retro_step_kind kind;
	struct retro_task *task;
	size_t from, to; /* items */
	unsigned part;   /* of the job's rules */
};
/*
 * What comes next for a job: a batch where there is one; else a plan, so that its batches
 * follow, or a claim. Plans are made when they are needed: each may be a list of its whole
 * range. Under the lock.
 */
struct retro_step retro_step_of(const struct retro_job *job);
/* Let nobody else take it. Under the lock. */
void retro_step_mark(struct retro_job *job, const struct retro_step *s);

/* ---- retrohunt_worker.c ---- */
/* From here on an abort of the job ends what the child is at. false: it came before. */
bool retro_child_show(struct scan_child *child, void *worker);
/* Does this job go on? Of one that waits for a child; its job stays while it is in it. */
bool retro_child_is_wanted(void *job);
/* A living child, in w->child. */
MUST_USE int retro_child(struct retro_worker *w, struct err *err);
void retro_child_bury(struct retro_worker *w);
MUST_USE int retro_compile(struct retro_worker *w, struct retro_job *job, struct err *err);
/* Verify items [from, to) of the task and tell what matches. Takes the lock for its outcome. */
void retro_verify(struct retro_worker *w, struct retro_job *job, struct retro_task *task,
		  size_t from, size_t to);

/* ---- retrohunt_tell.c ---- */
struct retro_hit {
	int64_t file_id;
	const struct scan_rule *rule; /* of the job's rules */
	struct str snippet;
};
enum {
	RETRO_STEP_HITS = 256 /* places that matches are told on in one request to the writer */
};
/*
 * Commit these hits of a task; with `ends`, the task's end in the same transaction.
 * Blocks; goes on trying while the disk is full or busy. ERR_CLOSED: it is not ours
 * to tell any more (the job ended, or the service stops).
 */
MUST_USE int retro_tell(struct retro_job *job, struct retro_task *task,
			const struct retro_hit *hits, size_t n, bool ends, struct err *err);
/*
 * End the tasks that are decided in one commit and free them, unless there are others that
 * may be decided soon: whoever plans the last one ends them all. Blocks.
 */
void retro_end_decided(struct retro_job *job);
/* End a job that was aborted, deleted or given up. Blocks. */
MUST_USE int retro_end(struct retro_job *job, struct err *err);
/*
 * Claim up to RETRO_CLAIM_MAX tasks: for a transaction of the writer's. *ret_n 0: there are
 * no more.
 */
MUST_USE int retro_claim_in(struct service *svc, struct sql_conn *conn, int64_t job_id,
			    struct retrohunt_task_row *ret, size_t *ret_n, struct err *err);
/*
 * Claim tasks. *ret_n 0: there are no more; a job that has none at all ends here.
 * ERR_CLOSED: the job is not live.
 */
MUST_USE int retro_claim(struct retro_job *job, struct retrohunt_task_row *ret, size_t *ret_n,
			 struct err *err);
#endif
