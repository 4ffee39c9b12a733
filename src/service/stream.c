#include "service/stream.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/metric.h"
#include "base/utf8.h"
#include "service_internal.h"
#include "store/meta_file.h"
#include "store/meta_retrohunt.h"

enum {
	HASH_ARENA_MAX = 1 << 20,
	FILTER_SHOWN_BYTES = 1024, /* of a filter, in the audit log */
};

static bool env_hash(void *arg, struct str hex, uint8_t ret_sha256[SHA256_BYTES])
{
	struct stream_env *e = arg;
	AUTO(arena_drop) struct arena *arena = arena_new("filter hash", HASH_ARENA_MAX);
	uint8_t hash[SHA1_BYTES];
	struct file_row row;
	struct err err;

	if (hex.n > 2 * sizeof hash || !hex_decode(hex, hash, hex.n / 2) ||
	    file_row_by_hash(e->conn, str_make(hash, hex.n / 2), arena, &row, &err) != 0)
		return false;
	memcpy(ret_sha256, row.hashes.sha256, SHA256_BYTES);
	return true;
}

/* Ids that are no numbers: those of Retrohunt jobs, also of deleted ones. */
static bool env_id(void *arg, struct str id, uint32_t *ret_kinds, int64_t *ret_id)
{
	struct stream_env *e = arg;
	int64_t job;

	if (str_find(id, '-') == id.n || retrohunt_name_id(e->conn, id, &job, NULL) != 0 || !job)
		return false;
	*ret_kinds = STREAM_BIT(STREAM_RETROHUNT);
	*ret_id = job;
	return true;
}

void stream_env_init(struct stream_env *ret, struct service *svc, struct sql_conn *conn,
		     int64_t now_s)
{
	*ret = (struct stream_env){
		.env = { .now_s = now_s, .hash = env_hash, .id = env_id, .arg = ret },
		.svc = svc,
		.conn = conn
	};
}

uint64_t stream_cursor_key(const struct service *svc)
{
	return svc->cursor_key;
}

struct remove_req {
	struct write_req req;
	struct service *svc;
	int64_t owner_id;
	int64_t seq;
	struct str filter;
	int64_t now_s;
	const struct audit_by *by;
};

static int remove_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct remove_req *r = (struct remove_req *)req;
	struct stream_env env;
	char id[24];

	stream_env_init(&env, r->svc, conn, r->now_s);
	TRY(stream_delete_one(conn, r->owner_id, r->seq, &env.env, err));
	snprintf(id, sizeof id, "%lld", (long long)r->seq);
	return audit_write(r->svc, conn, r->by, AUDIT_NOTIFICATION_DELETE, str_of(id), STR(""),
			   err);
}

int stream_remove(struct service *svc, int64_t owner_id, int64_t seq, const struct audit_by *by,
		  struct err *err)
{
	struct remove_req r = { .req = { .apply = remove_apply, .lane = LANE_API },
				.svc = svc,
				.owner_id = owner_id,
				.seq = seq,
				.by = by,
				.now_s = clock_unix_s(svc->clock) };

	TRY(writer_call(svc->writer, &r.req, err));
	metric_add(METRIC_notifications_deleted_total, 1);
	return 0;
}

static int remove_matching_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct remove_req *r = (struct remove_req *)req;
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	struct stream_env env;

	audit_detail_init(&d);
	stream_env_init(&env, r->svc, conn, r->now_s);
	TRY(stream_delete_start(conn, r->owner_id, r->filter, &env.env, err));
	json_kv_str(&d.json, "filter", utf8_cut(r->filter, FILTER_SHOWN_BYTES));
	return audit_write(r->svc, conn, r->by, AUDIT_STREAM_DELETE, STR(""), audit_detail_end(&d),
			   err);
}

int stream_remove_matching(struct service *svc, int64_t owner_id, struct str filter,
			   const struct audit_by *by, struct err *err)
{
	struct remove_req r = { .req = { .apply = remove_matching_apply, .lane = LANE_API },
				.svc = svc,
				.owner_id = owner_id,
				.filter = filter,
				.by = by,
				.now_s = clock_unix_s(svc->clock) };

	TRY(writer_call(svc->writer, &r.req, err));
	background_wake(svc);
	return 0;
}
