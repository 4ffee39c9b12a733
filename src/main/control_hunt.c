#include "control_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/retrohunt.h"

/* weir hunt: a Retrohunt job from its making to its end, told to who waits for it. */

enum {
	PIECE_BYTES = CONTROL_PAYLOAD_MAX / 2, /* of the compiler's messages */
	LOOK_MS_FIRST = 5,          /* most jobs are short; longer ones are looked at … */
	LOOK_MS = 200,              /* … less and less often, down to this */
	MATCHES_EACH = 500,         /* told at once */
	ARENA_BYTES_MAX = 16 << 20, /* a job's rules, and matches */
	TEXT_BYTES_MAX = 16 << 20,  /* messages, or an estimate */
};

/*
 * A job or an estimate on its way. Compiling and planning take up to a minute, and who
 * waits for it may go away meanwhile; then what has come is nobody's but ours to end:
 *
 *   WAITING --outcome--> COME (the watch has it)
 *          \--who waited is gone--> LEFT (the outcome's thread has it)
 */
enum making_state {
	MAKING_WAITING,
	MAKING_COME,
	MAKING_LEFT
};
struct making {
	struct service *svc;
	struct audit_by by;
	int64_t owner_id;
	struct retrohunt_wish wish;
	_Atomic enum making_state state;
	int wake; /* eventfd */
	/* the outcome */
	int rc;
	struct err err;
	struct buf messages; /* owned */
	struct buf estimate; /* owned */
	char name[RETROHUNT_NAME_BYTES];
	int64_t id;
};

struct watch {
	struct connection *c;
	bool files_only;
	int64_t told; /* position of the last match */
	char name[RETROHUNT_NAME_BYTES];
	int64_t id, owner_id;
};

/* ---- The making ---- */

static struct making *making_new(const struct watch *w)
{
	struct making *m = mem_must_zalloc(sizeof *m);

	m->svc = w->c->svc;
	m->by = w->c->by;
	m->owner_id = w->owner_id;
	m->wake = -1;
	retrohunt_wish_init(&m->wish);
	buf_init(&m->messages, TEXT_BYTES_MAX);
	buf_init(&m->estimate, TEXT_BYTES_MAX);
	return m;
}

static void making_free(struct making *m)
{
	if (m->wake >= 0)
		close(m->wake);
	buf_release(&m->messages);
	buf_release(&m->estimate);
	retrohunt_wish_release(&m->wish);
	free(m);
}

/* Nobody waits for the job any more. */
static void making_end(void *arg)
{
	struct making *m = arg;
	struct err err;
	int rc = retrohunt_abort(m->svc, m->owner_id, str_of(m->name), &m->by, &err);

	/* It may have finished just now. */
	if (rc && rc != -ERR_INVALID)
		log_event(LOG_WARN, "retrohunt_goes_on", LOG_Z("job", m->name),
			  LOG_Z("error", err.msg));
	making_free(m);
}

/* The outcome is here; on a thread of the service's. */
static void making_come(struct making *m, int rc, const struct err *err, struct str messages)
{
	m->rc = rc;
	if (rc)
		m->err = *err;
	buf_add_str(&m->messages, messages);
	if (atomic_exchange(&m->state, MAKING_COME) == MAKING_WAITING)
		eventfd_write(m->wake, 1);
	else if (rc || !m->id)
		making_free(m);
	else if (service_run(m->svc, making_end, m, NULL) != 0)
		making_free(m); /* stopping: the job goes on when it starts again, as others do */
}

static void job_made(const struct retrohunt_job *job, int rc, const struct err *err,
		     struct str messages, void *arg)
{
	struct making *m = arg;

	if (!rc) {
		memcpy(m->name, job->name, sizeof m->name);
		m->id = job->id;
	}
	making_come(m, rc, err, messages);
}

static void job_estimated(struct str attributes_json, int rc, const struct err *err,
			  struct str messages, void *arg)
{
	struct making *m = arg;

	buf_add_str(&m->estimate, attributes_json);
	making_come(m, rc, err, messages);
}

static int rules_read(int fd, struct buf *out, struct err *err)
{
	char piece[16 * 1024];
	ssize_t n;

	while ((n = pread(fd, piece, sizeof piece, (off_t)out->n)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "the rules cannot be read");
		buf_add(out, piece, (size_t)n);
		if (buf_failed(out))
			return err_set(err, ERR_TOO_LARGE, "the rules are larger than %d bytes",
				       LIMIT_RULES_BYTES);
	}
	return 0;
}

static void first_admin(const struct user *u, void *arg)
{
	struct user *first = arg;

	if (u->role == ROLE_ADMIN && !u->disabled && (!first->id || u->id < first->id))
		*first = *u;
}

/* May this user have jobs? What the API would refuse is refused here. */
static int owner_check(const struct user *u, struct err *err)
{
	if (u->disabled)
		return err_set(err, ERR_FORBIDDEN, "the account '%s' is disabled", u->name);
	if (u->role < ROLE_HUNTER)
		return err_set(err, ERR_FORBIDDEN, "'%s' is a %s, who may have no Retrohunt jobs",
			       u->name, user_role_name(u->role));
	return 0;
}

/* Whose job it is: the named user's, or the first administrator's. */
static int owner_get(struct service *svc, struct str name, struct user *ret, struct err *err)
{
	struct user first = { 0 };

	if (name.n) {
		TRY(user_get(svc, name, ret, err));
		return owner_check(ret, err);
	}
	TRY(user_each(svc, first_admin, &first, err));
	if (!first.id)
		return err_set(err, ERR_NOT_FOUND,
			       "a hunt belongs to somebody, and there is no administrator yet: "
			       "'weir user add NAME --role admin', or --user NAME");
	return user_by_id(svc, first.id, ret, err);
}

static void tell_text(struct watch *w, enum control_item item, struct str rest)
{
	while (rest.n) {
		size_t n = rest.n < PIECE_BYTES ? rest.n : PIECE_BYTES;

		ANSWER(w->c, CONTROL_ITEM, FIELD_U64(item), FIELD_STR(str_make(rest.p, n)));
		rest = str_make(rest.p + n, rest.n - n);
	}
}

/* Until the outcome is here, or nobody waits for it (ERR_CLOSED; then it is not ours any more). */
static int outcome_wait(struct watch *w, struct making *m, struct err *err)
{
	struct pollfd ready[] = { { .fd = m->wake, .events = POLLIN },
				  { .fd = w->c->fd, .events = POLLIN | POLLRDHUP },
				  { .fd = w->c->stop_fd, .events = POLLIN } };
	eventfd_t ignored;

	while (poll(ready, sizeof ready / sizeof ready[0], -1) < 0)
		REQUIRE(errno == EINTR);
	if (!ready[0].revents)
		retrohunt_wish_end(&m->wish);
	if (!ready[0].revents && atomic_exchange(&m->state, MAKING_LEFT) == MAKING_WAITING)
		return err_set(err, ERR_CLOSED,
			       ready[2].revents ? "the server stops" : "interrupted");
	/* Come, though perhaps just now: then it is told, too. */
	while (eventfd_read(m->wake, &ignored) != 0)
		REQUIRE(errno == EINTR);
	return 0;
}

/* Tell what has come. */
static int outcome_tell(struct watch *w, const struct making *m, struct err *err)
{
	tell_text(w, CONTROL_MESSAGES, buf_str(&m->messages));
	if (m->rc) {
		*err = m->err;
		return m->rc;
	}
	tell_text(w, CONTROL_ESTIMATED, buf_str(&m->estimate));
	memcpy(w->name, m->name, sizeof w->name);
	w->id = m->id;
	return 0;
}

/* Make the job, or with `estimates` only what it would cost. */
static int job_make(struct watch *w, const struct user *owner, struct retrohunt_new *ask,
		    bool estimates, struct err *err)
{
	struct making *m = making_new(w);
	bool is_ours = true;
	int rc = 0;

	ask->wish = &m->wish;
	m->wake = eventfd(0, EFD_CLOEXEC);
	if (m->wake < 0)
		rc = err_sys(err, errno, "cannot wait for the job");
	if (rc == 0)
		rc = estimates
			     ? retrohunt_estimate(w->c->svc, owner->id, ask, job_estimated, m, err)
			     : retrohunt_create(w->c->svc, owner, ask, job_made, m, err);
	if (rc == 0) {
		rc = outcome_wait(w, m, err);
		is_ours = rc == 0;
	}
	if (rc == 0)
		rc = outcome_tell(w, m, err);
	if (is_ours)
		making_free(m);
	if (rc == -ERR_QUOTA)
		rc = err_set(err, ERR_QUOTA,
			     "the jobs of '%s' in this month are used up ('weir user quota %s')",
			     owner->name, owner->name);
	return rc;
}

/* ---- The watching ---- */

static void tell_numbers(struct watch *w, const struct retrohunt_job *job)
{
	ANSWER(w->c, CONTROL_ITEM, FIELD_U64(CONTROL_HUNTED), FIELD_U64(job->files_done),
	       FIELD_U64(job->files), FIELD_U64(job->bytes_done), FIELD_U64(job->bytes),
	       FIELD_U64(job->num_matches), FIELD_U64(job->num_skipped),
	       FIELD_U64(job->eta_s < 0 ? UINT64_MAX : (uint64_t)job->eta_s));
}

static int tell_matches(struct watch *w, struct err *err)
{
	struct retrohunt_files found = { .more = true };
	char sha256[2 * SHA256_BYTES + 1];

	while (found.more && !w->c->broken) {
		AUTO(arena_drop) struct arena *arena = arena_new("hunt matches", ARENA_BYTES_MAX);

		TRY(w->files_only
			    ? retrohunt_matching_files(w->c->svc, w->id, w->told, MATCHES_EACH,
						       false, arena, &found, err)
			    : retrohunt_matches(w->c->svc, w->id, w->told, MATCHES_EACH, arena,
						&found, err));
		for (size_t i = 0; i < found.count; i++) {
			hex_encode(found.rows[i].sha256, SHA256_BYTES, sha256);
			ANSWER(w->c, CONTROL_ITEM, FIELD_U64(CONTROL_MATCH),
			       FIELD_STR(found.rows[i].rule), FIELD_STR(str_of(sha256)),
			       FIELD_U64(found.rows[i].is_inside));
			w->told = found.rows[i].position;
		}
	}
	connection_flush(w->c, false);
	return 0;
}

static int tell_skipped(struct watch *w, struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("hunt skipped", ARENA_BYTES_MAX);
	char sha256[2 * SHA256_BYTES + 1];
	struct retrohunt_skip *rows;
	size_t n;

	TRY(retrohunt_skipped(w->c->svc, w->id, RETROHUNT_SKIPPED_SHOWN, arena, &rows, &n, err));
	for (size_t i = 0; i < n; i++) {
		hex_encode(rows[i].sha256, SHA256_BYTES, sha256);
		ANSWER(w->c, CONTROL_ITEM, FIELD_U64(CONTROL_SKIPPED), FIELD_STR(str_of(sha256)),
		       FIELD_STR(rows[i].reason), FIELD_U64(rows[i].is_failure));
	}
	return 0;
}

/* Wait a moment. ERR_CLOSED: the server stops. *ret_enough: nobody wants more. */
static int wait_a_moment(struct watch *w, int *ms, bool enough, bool *ret_enough, struct err *err)
{
	struct pollfd ready[2] = { { .fd = enough ? -1 : w->c->fd, .events = POLLIN | POLLRDHUP },
				   { .fd = w->c->stop_fd, .events = POLLIN } };

	*ret_enough = (poll(ready, 2, *ms) > 0 && ready[0].revents) || w->c->broken;
	*ms = *ms * 2 < LOOK_MS ? *ms * 2 : LOOK_MS;
	return ready[1].revents
		       ? err_set(err, ERR_CLOSED,
				 "the server stops; job '%s' goes on when it starts again", w->name)
		       : 0;
}

static void tell_end(struct watch *w, const struct retrohunt_job *job)
{
	ANSWER(w->c, CONTROL_OK, FIELD_STR(str_of(job->name)),
	       FIELD_STR(str_of(retrohunt_status_name(job->status))), FIELD_U64(job->complete),
	       FIELD_STR(str_of(job->reason)), FIELD_STR(str_of(job->error)),
	       FIELD_U64(job->verified_files), FIELD_U64(job->verified_bytes),
	       FIELD_U64(job->num_files));
}

static int job_watch(struct watch *w, struct err *err)
{
	bool enough = false, aborted = false;
	int ms = LOOK_MS_FIRST;

	ANSWER(w->c, CONTROL_ITEM, FIELD_U64(CONTROL_JOB), FIELD_STR(str_of(w->name)));
	for (;;) {
		AUTO(arena_drop) struct arena *arena = arena_new("hunt watch", ARENA_BYTES_MAX);
		struct retrohunt_job job;

		/* First how it stands, then what was found: an end comes after its last match. */
		TRY(retrohunt_get(w->c->svc, w->owner_id, str_of(w->name), arena, &job, err));
		TRY(tell_matches(w, err));
		tell_numbers(w, &job);
		connection_flush(w->c, false);
		if (job.status == RETROHUNT_ABORTED || job.status == RETROHUNT_FINISHED) {
			TRY(tell_skipped(w, err));
			tell_end(w, &job);
			return 0;
		}
		TRY(wait_a_moment(w, &ms, aborted, &enough, err));
		if (!enough || aborted)
			continue;
		aborted = true;
		int rc = retrohunt_abort(w->c->svc, w->owner_id, str_of(w->name), &w->c->by, err);

		/* It may have finished just now. */
		if (rc != 0 && rc != -ERR_INVALID)
			return rc;
	}
}

static int do_hunt(struct watch *w, struct frame *f, int fd, bool estimates, struct err *err)
{
	AUTO(buf_release) struct buf rules = BUF_INIT(LIMIT_RULES_BYTES);
	struct user owner = { 0 };
	struct retrohunt_new ask = { .by = &w->c->by };
	struct str name = frame_take_str(f);

	ask.corpus = frame_take_str(f);
	ask.start_s = (int64_t)frame_take_u64(f);
	ask.end_s = (int64_t)frame_take_u64(f);
	w->files_only = frame_take_u64(f) != 0;
	if (f->bad || fd < 0)
		return err_set(err, ERR_INVALID, "no rules were sent");
	TRY(rules_read(fd, &rules, err));
	if (!estimates)
		TRY(owner_get(w->c->svc, name, &owner, err));
	ask.rules = buf_str(&rules);
	w->owner_id = owner.id;
	TRY(job_make(w, &owner, &ask, estimates, err));
	if (!estimates)
		return job_watch(w, err);
	connection_answer(w->c, CONTROL_OK, NULL, 0);
	return 0;
}

static int hunt(struct connection *c, struct frame *f, bool estimates, struct err *err)
{
	struct watch w = { .c = c };
	int fd = frame_in_take_fd(&c->in);
	int rc = do_hunt(&w, f, fd, estimates, err);

	if (fd >= 0)
		close(fd);
	return rc;
}

int control_hunt(struct connection *c, struct frame *f, struct err *err)
{
	return hunt(c, f, false, err);
}

int control_estimate(struct connection *c, struct frame *f, struct err *err)
{
	return hunt(c, f, true, err);
}
