#include "service/audit.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "service/users.h"
#include "service_internal.h"

enum {
	FLUSH_ROWS = 500,          /* in one request of the writer: a few milliseconds */
	READ_ROWS = 500,           /* read at once */
	ROW_BYTES_MAX = 16 * 1024, /* of a line's texts, with room to spare */
};

static const struct {
	const char *name;
	const char *object_type;
} actions[AUDIT_ACTIONS] = {
#define AUDIT(id_, name_, object_type_, text_) [AUDIT_##id_] = { (name_), (object_type_) },
#include "service/audit.def"
#undef AUDIT
};

/* A line that waits for the next flush; its texts lie behind it. */
struct audit_line {
	struct audit_line *next;
	struct audit_row row;
	struct audit_by by;
};

/*
 * Lines go from `waiting` to the writer in order, by one flusher at a time, and
 * leave memory when they are durable.
 */
struct audit_log {
	struct lock lock;
	struct lock flush; /* held by whoever flushes; may wait for the writer */
	/* under the lock */
	struct audit_line *head;
	struct audit_line **tail;
	size_t count;
};

const char *audit_action_name(enum audit_action action)
{
	REQUIRE(action < AUDIT_ACTIONS);
	return actions[action].name;
}

bool audit_action_is_known(struct str name)
{
	for (unsigned i = 0; i < AUDIT_ACTIONS; i++) {
		struct str action = str_of(actions[i].name);

		if (str_eq(name, action) ||
		    (name.n && name.p[name.n - 1] == '.' && str_starts(action, name)))
			return true;
	}
	return false;
}

/* ---- Details ---- */

void audit_detail_init(struct audit_detail *d)
{
	buf_init(&d->text, AUDIT_DETAIL_BYTES_MAX);
	json_init(&d->json, &d->text);
	json_obj(&d->json);
}

struct str audit_detail_end(struct audit_detail *d)
{
	json_obj_end(&d->json);
	json_end(&d->json);
	/* Half an object is worse than none; what is put in has maxima that fit. */
	return buf_failed(&d->text) ? STR("") : buf_str(&d->text);
}

void audit_detail_drop(struct audit_detail *d)
{
	buf_release(&d->text);
}

/* ---- Writing ---- */

static struct audit_row row_of(struct service *svc, const struct audit_by *by,
			       enum audit_action action, struct str object_id, struct str detail)
{
	REQUIRE(action < AUDIT_ACTIONS);
	return (struct audit_row){ .date_s = clock_unix_s(svc->clock),
				   .user_id = by ? by->user_id : 0,
				   .action = str_of(actions[action].name),
				   .object_type = str_of(actions[action].object_type),
				   .object_id = object_id,
				   .detail = detail,
				   .address = str_of(by ? by->address : ""),
				   .request_id = str_of(by ? by->request_id : "") };
}

int audit_write(struct service *svc, struct sql_conn *conn, const struct audit_by *by,
		enum audit_action action, struct str object_id, struct str detail, struct err *err)
{
	const struct audit_row row = row_of(svc, by, action, object_id, detail);

	return audit_row_add(conn, &row, err);
}

struct rows_req {
	struct write_req req; /* first */
	const struct audit_line *line;
	size_t n;
};

static int rows_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct rows_req *r = (const struct rows_req *)req;
	const struct audit_line *line = r->line;

	for (size_t i = 0; i < r->n; i++, line = line->next)
		TRY(audit_row_add(conn, &line->row, err));
	return 0;
}

int audit_write_alone(struct service *svc, const struct audit_by *by, enum audit_action action,
		      struct str object_id, struct str detail, struct err *err)
{
	const struct audit_line line = { .row = row_of(svc, by, action, object_id, detail) };
	struct rows_req r = { .req = { .apply = rows_apply, .lane = LANE_API },
			      .line = &line,
			      .n = 1 };

	return writer_call(svc->writer, &r.req, err);
}

static struct audit_line *line_new(const struct audit_row *row)
{
	size_t n = row->object_id.n + row->detail.n;
	struct audit_line *line = mem_must_zalloc(sizeof *line + n);
	char *text = (char *)(line + 1);

	line->row = *row;
	if (row->object_id.n)
		memcpy(text, row->object_id.p, row->object_id.n);
	if (row->detail.n)
		memcpy(text + row->object_id.n, row->detail.p, row->detail.n);
	line->row.object_id.p = text;
	line->row.detail.p = text + row->object_id.n;
	return line;
}

int audit_note(struct service *svc, const struct audit_by *by, enum audit_action action,
	       struct str object_id, struct str detail, struct err *err)
{
	const struct audit_row row = row_of(svc, by, action, object_id, detail);
	struct audit_line *line = line_new(&row);
	struct audit_log *a = svc->audit;
	bool full, half;

	if (by) {
		line->by = *by;
		line->row.address.p = line->by.address;
		line->row.request_id.p = line->by.request_id;
	}
	lock_take(&a->lock);
	full = a->count >= AUDIT_WAITING_MAX;
	if (!full) {
		*a->tail = line;
		a->tail = &line->next;
		a->count++;
	}
	half = a->count == AUDIT_WAITING_MAX / 2;
	lock_drop(&a->lock);
	if (half || full)
		background_wake(svc);
	if (!full)
		return 0;
	free(line);
	return err_set(err, ERR_BUSY, "too many lines wait for the audit log");
}

/* The first lines that wait, at most FLUSH_ROWS; they stay in their list. */
static size_t lines_first(struct audit_log *a, struct audit_line **ret)
{
	size_t n;

	lock_take(&a->lock);
	*ret = a->head;
	n = a->count < FLUSH_ROWS ? a->count : FLUSH_ROWS;
	lock_drop(&a->lock);
	return n;
}

static void lines_drop(struct audit_log *a, size_t n)
{
	struct audit_line *line, *next;

	for (size_t i = 0; i < n; i++) {
		lock_take(&a->lock);
		line = a->head;
		next = line->next;
		a->head = next;
		if (!next)
			a->tail = &a->head;
		a->count--;
		lock_drop(&a->lock);
		free(line);
	}
}

void audit_flush(struct service *svc)
{
	struct audit_log *a = svc->audit;
	struct err err;

	lock_take(&a->flush);
	for (;;) {
		struct rows_req r = { .req = { .apply = rows_apply, .lane = LANE_BULK } };
		struct audit_line *first;

		r.n = lines_first(a, &first);
		r.line = first;
		if (r.n == 0)
			break;
		if (writer_call(svc->writer, &r.req, &err) != 0) {
			/* They wait on: a second later the disk may have room again. */
			log_event(LOG_WARN, "audit_waits", LOG_Z("error", err.msg));
			break;
		}
		lines_drop(a, r.n);
	}
	lock_drop(&a->flush);
}

struct audit_log *audit_log_new(void)
{
	struct audit_log *a = mem_must_zalloc(sizeof *a);

	lock_init(&a->lock, LOCK_AUDIT);
	lock_init(&a->flush, LOCK_AUDIT_FLUSH);
	a->tail = &a->head;
	return a;
}

void audit_log_free(struct audit_log *a)
{
	if (!a)
		return;
	if (a->count)
		log_event(LOG_ERROR, "audit_lost", LOG_I64("lines", (int64_t)a->count));
	lines_drop(a, a->count);
	lock_release(&a->flush);
	lock_release(&a->lock);
	free(a);
}

/* ---- Looking ---- */

/* A page is copied before it is shown: whoever looks may take his time. */
struct page {
	struct arena *arena;
	struct audit_row rows[READ_ROWS];
	uint32_t n;
};

static void page_add(const struct audit_row *row, void *arg)
{
	struct page *p = arg;
	struct audit_row *kept = &p->rows[p->n++];
	struct str *texts[] = { &kept->user,   &kept->action,  &kept->object_type, &kept->object_id,
				&kept->detail, &kept->address, &kept->request_id };

	*kept = *row;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		*texts[i] = arena_str(p->arena, *texts[i]);
}

/* `newest`: where to begin is to be found out first, in the same reading. */
static int page_read(struct service *svc, const struct audit_search *search, bool newest,
		     uint64_t left, int64_t *after_id, struct page *p, struct err *err)
{
	struct sql_conn *conn;
	int rc = 0;

	TRY(sql_reader_take(&conn, svc->db, err));
	if (newest)
		rc = audit_rows_newest(conn, &search->filter, left, after_id, err);
	if (rc == 0)
		rc = audit_rows(conn, &search->filter, *after_id,
				left < READ_ROWS ? (uint32_t)left : READ_ROWS, page_add, p,
				after_id, &p->n, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

static int each_page(struct service *svc, const struct audit_search *search,
		     bool (*each)(const struct audit_row *row, void *arg), void *arg,
		     struct err *err)
{
	uint64_t left = search->limit ? search->limit : UINT64_MAX;
	bool newest = search->limit && !search->after_id, more = true;
	int64_t after_id = search->after_id;

	while (more && left > 0) {
		AUTO(arena_drop)
		struct arena *arena = arena_new("audit", READ_ROWS * ROW_BYTES_MAX);
		struct page *p = arena_must(arena, sizeof *p);

		p->arena = arena;
		TRY(page_read(svc, search, newest, left, &after_id, p, err));
		newest = false;
		left -= p->n;
		more = p->n == READ_ROWS;
		for (uint32_t i = 0; i < p->n; i++) {
			if (!each(&p->rows[i], arg))
				return 0;
		}
	}
	return 0;
}

int audit_each(struct service *svc, const struct audit_search *search,
	       bool (*each)(const struct audit_row *row, void *arg), void *arg, struct err *err)
{
	int64_t oldest_s =
		clock_unix_s(svc->clock) - svc->options.audit_retention_days * INT64_C(86400);
	struct audit_search kept = *search;
	struct user user;

	/* What is to go is not shown, though it is removed a little later. */
	kept.filter.is_late = kept.filter.since_s > oldest_s;
	if (!kept.filter.is_late)
		kept.filter.since_s = oldest_s;
	if (search->filter.action.n && !audit_action_is_known(search->filter.action))
		return err_set(err, ERR_INVALID, "there is no action '" STR_FMT "'",
			       STR_ARG(search->filter.action));
	if (search->filter.user.n && !str_eq_z(search->filter.user, "-"))
		TRY(user_get(svc, search->filter.user, &user, err));
	audit_flush(svc);
	return each_page(svc, &kept, each, arg, err);
}
