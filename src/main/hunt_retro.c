#include "hunt.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "main/when.h"
#include "progress.h"
#include "service/retrohunt.h"

/* `weir hunt RULES...`: a Retrohunt job of the data folder's owner, from here to its end. */

enum {
	LOOK_MS = 100, /* between two looks at Ctrl-C */
	REQUEST_BYTES_MAX = 64 * 1024,
	TEXT_BYTES_MAX = 16 << 20, /* of the compiler's messages, or an estimate */
};

struct retro {
	struct hunt_view *view;
	struct hunt_numbers numbers;
	struct hunt_rules rules;
	struct buf messages;
	struct buf estimate;
	char job[RETROHUNT_NAME_BYTES]; /* "": none was made yet */
	bool estimates;
	bool told_messages;
	bool gave_up; /* the owner was told that nobody wants more */
	/* of those that were not scanned */
	uint64_t named;  /* failures */
	char first[200]; /* the first of those that are too large, with the reason; "" */
};

struct retro_end {
	struct str name, status, reason, error;
	bool complete;
	uint64_t verified_files, verified_bytes, files;
};

/* ---- What comes ---- */

static void take_match(struct retro *r, struct frame *f)
{
	struct hunt_result result = { .rule_name = frame_take_str(f) };
	struct str sha256 = frame_take_str(f);

	result.is_inside = frame_take_u64(f) != 0;
	if (f->bad || sha256.n >= sizeof result.sha256)
		return;
	memcpy(result.sha256, sha256.p, sha256.n);
	hunt_view_results(r->view, &result, 1);
}

static void take_numbers(struct retro *r, struct frame *f)
{
	struct hunt_numbers n = { .files = frame_take_u64(f) };

	n.files_all = frame_take_u64(f);
	n.bytes = frame_take_u64(f);
	n.bytes_all = frame_take_u64(f);
	n.matches = frame_take_u64(f);
	n.failed = frame_take_u64(f);
	n.eta_s = (int64_t)frame_take_u64(f);
	if (!f->bad)
		r->numbers = n;
}

/* true: the rules were refused for an error that is told. */
static bool tell_messages(struct retro *r, bool refused)
{
	bool any_error = false;

	if (!r->told_messages)
		any_error = hunt_view_messages(r->view, buf_str(&r->messages), &r->rules, refused);
	r->told_messages = true;
	return any_error;
}

/* Failures by name; those that are too large are many, and are counted. */
static void take_skipped(struct retro *r, struct frame *f)
{
	struct str sha256 = frame_take_str(f), reason = frame_take_str(f);

	if (frame_take_u64(f)) {
		r->named++;
		hunt_view_line(r->view, "skipped: " STR_FMT ": " STR_FMT, STR_ARG(sha256),
			       STR_ARG(reason));
	} else if (!*r->first) {
		snprintf(r->first, sizeof r->first, STR_FMT ": " STR_FMT, STR_ARG(sha256),
			 STR_ARG(reason));
	}
}

static void take_item(struct retro *r, struct frame *f)
{
	uint64_t kind = frame_take_u64(f);
	struct str name;

	if (kind == CONTROL_MESSAGES) {
		buf_add_str(&r->messages, frame_take_str(f));
		return;
	}
	if (kind == CONTROL_ESTIMATED) {
		buf_add_str(&r->estimate, frame_take_str(f));
		return;
	}
	(void)tell_messages(r, false); /* all of them are here */
	switch (kind) {
	case CONTROL_MATCH:
		take_match(r, f);
		break;
	case CONTROL_HUNTED:
		take_numbers(r, f);
		hunt_view_tick(r->view, &r->numbers);
		break;
	case CONTROL_SKIPPED:
		take_skipped(r, f);
		break;
	case CONTROL_JOB:
		name = frame_take_str(f);
		snprintf(r->job, sizeof r->job, STR_FMT, STR_ARG(name));
		break;
	default:
		break;
	}
}

/* Tell the owner, once, that nobody wants more: it ends the job and answers. */
static void look_for_end(struct retro *r, int fd)
{
	if (r->gave_up || (!hunt_is_interrupted() && !r->view->closed))
		return;
	r->gave_up = true;
	shutdown(fd, SHUT_WR);
}

/* The other side ends without an answer. */
static int gone(const struct retro *r, struct err *err)
{
	if (!*r->job)
		return err_set(err, ERR_CLOSED, "the server has gone away");
	return err_set(err, ERR_CLOSED,
		       "the server has gone away; job '%s' goes on when it starts again", r->job);
}

/* The answer to the whole. */
static int take_end(struct retro *r, struct frame *f, struct err *err)
{
	int rc = f->kind == CONTROL_OK ? 0 : session_error(f, err);

	/* What was said of the rules' places says more than the error does. */
	if (tell_messages(r, rc != 0) && rc == -ERR_INVALID)
		return err_set(err, ERR_INVALID, "the rules do not compile");
	return rc;
}

/* Until the job's end. */
static int answers_take(struct retro *r, struct frame_in *link, struct frame *ret, struct err *err)
{
	bool end = false, any;

	for (;;) {
		TRY(frame_in_next(link, ret, &any, err));
		if (any && ret->kind == CONTROL_ITEM) {
			take_item(r, ret);
			look_for_end(r, link->fd);
			continue;
		}
		if (any)
			return take_end(r, ret, err);
		if (end)
			return gone(r, err);
		look_for_end(r, link->fd);
		struct pollfd ready = { .fd = link->fd, .events = POLLIN };

		if (poll(&ready, 1, LOOK_MS) > 0)
			TRY(frame_in_read(link, &end, err));
		if (r->told_messages)
			hunt_view_tick(r->view, &r->numbers);
		else
			hunt_view_wait(r->view, r->estimates ? "compiling and planning the rules"
							     : "compiling the rules");
	}
}

/* ---- The ask ---- */

static int read_when(const struct options *o, enum option_id id, unsigned flags, int64_t now_s,
		     int64_t *ret, struct err *err)
{
	*ret = 0;
	if (!option_given(o, id))
		return 0;
	if (when_parse(str_of(option_value(o, id, "")), now_s, flags, ret, err) != 0)
		return err_add(err, "--%s", option_name(id));
	return 0;
}

/* Rules are larger than any frame: they travel as a file. */
static int rules_file(const struct buf *rules, int *ret_fd, struct err *err)
{
	int fd = memfd_create("rules", MFD_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "keeping the rules");
	for (size_t at = 0; at < rules->n;) {
		ssize_t n = write(fd, rules->p + at, rules->n - at);

		if (n < 0 && errno != EINTR) {
			close(fd);
			return err_sys(err, errno, "keeping the rules");
		}
		at += n > 0 ? (size_t)n : 0;
	}
	*ret_fd = fd;
	return 0;
}

static int ask(struct retro *r, const struct options *o, struct frame_in *link, int rules,
	       struct err *err)
{
	AUTO(buf_release) struct buf request = BUF_INIT(REQUEST_BYTES_MAX);
	int64_t now_s = clock_unix_s(clock_system()), since_s, until_s;
	size_t at;

	TRY(read_when(o, OPTION_since, 0, now_s, &since_s, err));
	TRY(read_when(o, OPTION_until, WHEN_LAST, now_s, &until_s, err));
	if (since_s > now_s)
		return err_set(err, ERR_INVALID, "--since is in the future: nothing was sent then");
	if (until_s && until_s < since_s)
		return err_set(err, ERR_INVALID, "--until is before --since");
	at = frame_begin(&request, r->estimates ? CONTROL_ESTIMATE : CONTROL_HUNT, 1);
	frame_str(&request, str_of(option_value(o, OPTION_user, "")));
	frame_str(&request, str_of(option_value(o, OPTION_corpus, "main")));
	frame_u64(&request, (uint64_t)since_s);
	frame_u64(&request, (uint64_t)until_s);
	frame_u64(&request, r->view->format == HUNT_HASHES);
	frame_end(&request, at);
	TRY(buf_check(&request, "what you typed", err));
	return frame_send(link->fd, buf_str(&request), rules, err);
}

/* ---- The end ---- */

static struct retro_end end_take(struct frame *f)
{
	struct retro_end e = { .name = frame_take_str(f) };

	e.status = frame_take_str(f);
	e.complete = frame_take_u64(f) != 0;
	e.reason = frame_take_str(f);
	e.error = frame_take_str(f);
	e.verified_files = frame_take_u64(f);
	e.verified_bytes = frame_take_u64(f);
	e.files = frame_take_u64(f);
	return e;
}

static void put_summary(const struct retro *r, const struct retro_end *e, struct buf *line)
{
	const struct hunt_numbers *n = &r->numbers;
	double s = (double)(clock_mono_us(clock_system()) - r->view->started_us) / 1e6;

	buf_addf(line, "%" PRIu64 " of %" PRIu64 " files (", n->files, n->files_all);
	progress_put_bytes(line, (double)n->bytes);
	buf_addf(line,
		 ") in %.1f s: %" PRIu64 " matches in %" PRIu64 " files, %" PRIu64
		 " skipped; %" PRIu64 " were read (",
		 s, n->matches, e->files, n->failed, e->verified_files);
	progress_put_bytes(line, (double)e->verified_bytes);
	buf_addf(line, "); job '" STR_FMT "' " STR_FMT, STR_ARG(e->name), STR_ARG(e->status));
	if (e->reason.n && !str_eq(e->reason, e->status))
		buf_addf(line, ": " STR_FMT, STR_ARG(e->reason));
	if (e->error.n)
		buf_addf(line, ": " STR_FMT, STR_ARG(e->error));
}

static void put_skipped(struct retro *r)
{
	uint64_t large = r->numbers.failed > r->named ? r->numbers.failed - r->named : 0;

	if (*r->first && large > 1)
		hunt_view_line(r->view, "skipped: %" PRIu64 " files that are too large, as %s",
			       large, r->first);
	else if (*r->first)
		hunt_view_line(r->view, "skipped: %s", r->first);
	else if (large)
		hunt_view_line(r->view, "skipped: %" PRIu64 " more", large);
}

static int end_tell(struct retro *r, struct frame *f)
{
	AUTO(buf_release) struct buf line = BUF_INIT(4096);
	struct retro_end e = end_take(f);

	hunt_view_end(r->view);
	if (f->bad) {
		say("the server's answer is damaged");
		return HUNT_FAILED;
	}
	put_skipped(r);
	put_summary(r, &e, &line);
	hunt_view_line(r->view, STR_FMT, STR_ARG(buf_str(&line)));
	/* At the limit there are matches enough; anything else left files out. */
	if (r->gave_up || (!e.complete && !str_eq_z(e.reason, "match_limit")))
		return HUNT_FAILED;
	return r->numbers.matches > 0 ? HUNT_FOUND : HUNT_NONE;
}

static int hunt_with(struct retro *r, const struct options *o, struct frame_in *link, int rules,
		     struct err *err)
{
	struct frame answer;

	TRY(ask(r, o, link, rules, err));
	if (r->estimates) {
		TRY(answers_take(r, link, &answer, err));
		hunt_view_estimate(r->view, buf_str(&r->estimate));
		return r->view->closed || r->gave_up ? HUNT_FAILED : HUNT_FOUND;
	}
	hunt_view_head(r->view, false);
	TRY(answers_take(r, link, &answer, err));
	return end_tell(r, &answer);
}

int hunt_retro(const struct options *o, struct hunt_view *view)
{
	struct retro r = { .view = view,
			   .numbers = { .eta_s = -1 },
			   .messages = BUF_INIT(TEXT_BYTES_MAX),
			   .estimate = BUF_INIT(TEXT_BYTES_MAX),
			   .estimates = option_given(o, OPTION_estimate) };
	struct session *session = NULL;
	struct frame_in *link;
	int rules = -1;
	struct err err;
	int rc = hunt_rules_read(&r.rules, o->words, o->word_count, LIMIT_RULES_BYTES, &err);

	if (rc == 0)
		rc = rules_file(&r.rules.text, &rules, &err);
	if (rc == 0)
		rc = session_open_existing(&session, &o->settings, SESSION_HUNTS, &err);
	if (rc == 0)
		rc = session_link(session, &link, &err);
	if (rc == 0)
		rc = hunt_with(&r, o, link, rules, &err);
	hunt_view_end(view);
	if (rc < 0)
		say("%s", err.msg);
	if (rules >= 0)
		close(rules);
	session_close(session);
	buf_release(&r.messages);
	buf_release(&r.estimate);
	hunt_rules_release(&r.rules);
	return rc < 0 ? HUNT_FAILED : rc;
}
