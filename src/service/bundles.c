#include "service/bundles.h"

#include <string.h>

#include "store/meta_bundle.h"

static int read_page(struct sql_conn *conn, const struct bundle_ask *ask, struct arena *arena,
		     struct bundled_page *ret, struct err *err)
{
	struct bundle_row *rows;
	uint64_t total = 0;
	size_t n;

	TRY(bundle_page(conn, ask->file_id, ask->inside, ask->after_id, ask->limit + 1, arena,
			&rows, &n, err));
	if (ask->count)
		TRY(bundle_count(conn, ask->file_id, ask->inside, &total, err));
	ret->more = n > ask->limit;
	ret->count = ret->more ? ask->limit : n;
	ret->total = ask->count ? (int64_t)total : -1;
	ret->rows = arena_must(arena, (ret->count + 1) * sizeof *ret->rows);
	for (size_t i = 0; i < ret->count; i++) {
		ret->rows[i] = (struct bundled_file){ .id = rows[i].id, .name = rows[i].name };
		memcpy(ret->rows[i].sha256, rows[i].sha256, SHA256_BYTES);
	}
	return 0;
}

int bundled_read(struct service *svc, const struct bundle_ask *ask, struct arena *arena,
		 struct bundled_page *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, service_db(svc), err));
	rc = read_page(conn, ask, arena, ret, err);
	sql_reader_give(service_db(svc), conn);
	return rc;
}
