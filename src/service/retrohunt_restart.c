#include "retrohunt_internal.h"

/* What was under way when the last process ended goes on. */

enum {
	LOAD_ARENA_MAX = 4 << 20, /* a row with 1 MB of rules */
	LOAD_STEP = 64
};

struct release_req {
	struct write_req req;
};

static int release_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	(void)req;
	return retrohunt_tasks_release(conn, err);
}

static int jobs_load(struct service *svc, struct sql_conn *conn, struct err *err)
{
	int64_t ids[LOAD_STEP], after = 0;
	size_t n;

	do {
		TRY(retrohunt_open_ids(conn, after, ids, LOAD_STEP, &n, err));
		for (size_t i = 0; i < n; i++) {
			AUTO(arena_drop) struct arena *arena = arena_new("job", LOAD_ARENA_MAX);
			struct retrohunt_row row;

			TRY(retrohunt_row_by_id(conn, ids[i], arena, &row, err));
			retro_admit(svc, &row, NULL, NULL, NULL, 0);
			after = ids[i];
		}
	} while (n == LOAD_STEP);
	return 0;
}

int retro_restart(struct service *svc, struct err *err)
{
	struct release_req release = { .req = { .apply = release_apply, .lane = LANE_API } };
	struct sql_conn *conn;
	int rc;

	TRY(writer_call(svc->writer, &release.req, err));
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = jobs_load(svc, conn, err);
	sql_reader_give(svc->db, conn);
	return rc;
}
