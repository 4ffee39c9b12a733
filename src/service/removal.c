#include "service/files.h"

#include "base/hash.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/metric.h"
#include "corpus.h"
#include "inside.h"
#include "report_cache.h"
#include "service_internal.h"

/*
 * Removing samples for good: rows first, in a transaction that notes the bytes as
 * still to be erased; then the bytes in the pack. What a crash or a failing disk
 * leaves in between is repeated by the background thread, and at the next start.
 *
 * Bytes of no sample are noted the same way before they are erased: half erased
 * they are worse than whole, and nothing else would know of them.
 */

enum {
	REMOVAL_ARENA_MAX = 1 << 20 /* the file's row and report */
};

struct removal {
	struct write_req req;
	struct service *svc;
	const struct audit_by *by;
	struct str hash;
	uint8_t sha256[SHA256_BYTES];
	struct pack_locator at;
	int64_t file_id;
	int64_t erase_id;
	struct buf settled; /* SHA-256 of containers that waited for it */
};

static int removal_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct removal *r = (struct removal *)req;
	AUTO(arena_drop) struct arena *arena = arena_new("removal", REMOVAL_ARENA_MAX);
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	char hex[2 * SHA256_BYTES + 1];
	struct file_row row;

	audit_detail_init(&d);
	TRY(file_row_by_hash(conn, r->hash, arena, &row, err));
	r->at = row.at;
	r->file_id = row.id;
	memcpy(r->sha256, row.hashes.sha256, SHA256_BYTES);
	TRY(inside_remove(conn, &row, clock_unix_s(r->svc->clock), &r->erase_id, &r->settled, err));
	hex_encode(r->sha256, SHA256_BYTES, hex);
	json_kv_i64(&d.json, "size", (int64_t)row.size);
	return audit_write(r->svc, conn, r->by, AUDIT_FILE_DELETE, str_of(hex),
			   audit_detail_end(&d), err);
}

static int erased_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	return erase_done(conn, ((struct removal *)req)->erase_id, err);
}

static int removal_erase(struct service *svc, struct removal *r, struct err *err)
{
	TRY(packs_erase(svc->packs, &r->at, err));
	r->req = (struct write_req){ .apply = erased_apply, .lane = LANE_API };
	return writer_call(svc->writer, &r->req, err);
}

int file_remove(struct service *svc, struct str id, const struct audit_by *by, bool *ret_erased,
		struct err *err)
{
	struct removal r = { .req = { .apply = removal_apply, .lane = LANE_API },
			     .svc = svc,
			     .by = by,
			     .settled = BUF_INIT(SETTLED_BYTES_MAX) };
	uint8_t hash[SHA256_BYTES];
	struct err why;
	bool erased;
	size_t n;
	int rc;

	if (!file_hash_parse(id, hash, &n))
		return err_set(err, ERR_INVALID, "not an MD5, SHA-1 or SHA-256 hash");
	r.hash = str_make(hash, n);
	rc = writer_call(svc->writer, &r.req, err);
	if (rc == 0) {
		report_cache_drop(svc->reports, r.sha256);
		corpus_file_removed(svc, r.file_id);
		settled_drop(svc, &r.settled);
	}
	buf_release(&r.settled);
	TRY(rc);
	log_record(LOG_INFO, "file_removed", LOG_STR("file", id),
		   LOG_I64("user_id", by ? by->user_id : 0));
	/* The sample is gone, whatever the disk says now. */
	erased = removal_erase(svc, &r, &why) == 0;
	if (!erased) {
		log_event(LOG_ERROR, "erasure_failed", LOG_I64("pack", r.at.pack),
			  LOG_Z("error", why.msg));
		svc->erasures_left = true;
	}
	if (ret_erased)
		*ret_erased = erased;
	return 0;
}

static int garbage_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct removal *r = (struct removal *)req;
	bool used;

	r->erase_id = 0;
	TRY(file_place_is_used(conn, &r->at, &used, err));
	return used ? 0 : erase_add(conn, &r->at, &r->erase_id, err);
}

int files_erase_garbage(struct service *svc, const struct pack_locator *at, struct err *err)
{
	struct removal r = { .req = { .apply = garbage_apply, .lane = LANE_BULK },
			     .svc = svc,
			     .at = *at };
	int rc;

	/* What is noted must stay where it is. */
	TRY(packs_sync(svc->packs, err));
	TRY(writer_call(svc->writer, &r.req, err));
	if (!r.erase_id)
		return 0;
	rc = removal_erase(svc, &r, err);
	if (rc)
		svc->erasures_left = true;
	return rc;
}

int files_finish_erasures(struct service *svc, uint64_t *ret_left, struct err *err)
{
	int64_t after_id = 0;

	*ret_left = 0;
	for (;;) {
		struct removal r = { .erase_id = 0 };
		struct sql_conn *conn;
		struct err why;
		int rc;

		TRY(sql_reader_take(&conn, svc->db, err));
		rc = erase_next(conn, after_id, &r.erase_id, &r.at, err);
		sql_reader_give(svc->db, conn);
		metric_set(METRIC_erasures_waiting, (int64_t)*ret_left);
		if (rc || !r.erase_id)
			return rc;
		after_id = r.erase_id;
		/* A damaged or missing pack keeps nobody from serving what is whole. */
		if (removal_erase(svc, &r, &why) != 0) {
			++*ret_left;
			log_event(LOG_ERROR, "erasure_failed", LOG_I64("pack", r.at.pack),
				  LOG_Z("error", why.msg));
		}
	}
}
