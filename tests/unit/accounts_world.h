#ifndef ACCOUNTS_WORLD_H
#define ACCOUNTS_WORLD_H
#include "unit.h"

#include "base/mem.h"
#include "base/thread.h"
#include "scan/scan.h"
#include "service/service.h"
#include "service/users.h"

/*
 * A service that stores and compiles but does not hunt, in a folder of its own
 * and at a time of its own. The test program is its scan child too: main begins
 * with WORLD_SCAN_CHILD.
 */
enum {
	WORLD_START_S = 1764000000
};

#define WORLD_SCAN_CHILD(argc, argv)                                                               \
	do {                                                                                       \
		if ((argc) == 2 && strcmp((argv)[1], "scan-child") == 0)                           \
			return scan_child_main();                                                  \
	} while (0)

struct world {
	char *dir;
	struct clock_fake clock;
	struct service_options options;
	struct service *svc;
};

static inline void world_open(struct world *w)
{
	struct err err;

	CHECK_OK(service_open(&w->svc, &w->options, &err), &err);
}

static inline struct world *world_new(void)
{
	struct world *w = mem_must_zalloc(sizeof *w);

	w->dir = test_dir_new();
	clock_fake_init(&w->clock, WORLD_START_S);
	w->options = service_options_default(w->dir);
	w->options.clock = &w->clock.base;
	w->options.workers = 0;
	w->options.disk_reserve_bytes = 0;
	w->options.unsafe_no_sync = true; /* what syncs keep is tested elsewhere */
	return w;
}

static inline void world_free(struct world *w)
{
	service_close(w->svc);
	test_dir_remove(w->dir);
	free(w);
}

/* Run `text`, with one number bound if it wants one, on the writer. */
struct world_sql {
	struct write_req req;
	const char *text;
	int64_t value;
	bool has_value;
};

static inline int world_sql_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct world_sql *s = (struct world_sql *)req;
	const struct sql_val value = SQL_I64(s->value);

	return sql_exec_vals(conn, s->text, &value, s->has_value, NULL, err);
}

static inline void world_exec(struct world *w, const char *text, const int64_t *value)
{
	struct world_sql s = { .req = { .apply = world_sql_apply, .lane = LANE_API },
			       .text = text,
			       .value = value ? *value : 0,
			       .has_value = value != NULL };
	struct err err;

	CHECK_OK(writer_call(service_writer(w->svc), &s.req, &err), &err);
}

static inline int world_rows_in(struct sql_conn *conn, const char *text, struct buf *out,
				struct err *err)
{
	AUTO(sql_end) struct sql_query q = { 0 };
	bool row;

	TRY(sql_start(&q, conn, text, err));
	for (;;) {
		TRY(sql_next(&q, &row, err));
		if (!row)
			return 0;
		buf_add_str(out, sql_str(&q, 0));
		buf_add_c(out, '\n');
	}
}

/*
 * The first column of every row of a query as lines, in `out`. The reader is given back
 * before anything can fail: else the service does not close, and the message is not seen.
 */
static inline struct str world_rows(struct world *w, const char *text, struct buf *out)
{
	struct sql_conn *conn;
	struct err err;
	int rc;

	buf_reset(out);
	CHECK_OK(sql_reader_take(&conn, service_db(w->svc), &err), &err);
	rc = world_rows_in(conn, text, out, &err);
	sql_reader_give(service_db(w->svc), conn);
	CHECK_OK(rc, &err);
	return buf_str(out);
}

static inline int64_t world_i64(struct world *w, const char *text)
{
	struct buf out = BUF_INIT(4096);
	struct str s = world_rows(w, text, &out);
	int64_t value = INT64_MIN;

	s.n -= s.n > 0;
	if (s.n && !str_to_i64(s, &value))
		fail_msg("'" STR_FMT "' is no number", STR_ARG(s));
	buf_release(&out);
	return value;
}

/* For cmocka: an open world for each test. */
static inline int world_setup(void **state)
{
	struct world *w = world_new();

	world_open(w);
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	world_free(*state);
	return 0;
}
#endif
