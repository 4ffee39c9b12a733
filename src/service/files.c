#include "service/files.h"

#include <stdio.h>

#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/utf8.h"
#include "hunt.h"
#include "inside.h"
#include "opening.h"
#include "report.h"
#include "report_cache.h"
#include "scan/unpack.h"
#include "service/usage.h"
#include "service_internal.h"
#include "store/meta_analysis.h"
#include "store/meta_facts.h"

enum {
	UPLOAD_MEMORY_MAX = 1 << 20, /* larger samples go to a temporary file while they arrive */
	UPLOAD_ARENA_MAX = 1 << 20,  /* rows and names of one sample */
	UPLOAD_ROUNDS_MAX = 3,       /* times a sample may be removed while it is uploaded again */
};

/*
 * One sample on its way in:
 *
 *   receiving --upload_finish--> storing --writer--> done
 *                                  ^         |
 *                                  +---------+ the known copy was removed meanwhile
 *
 * It belongs to whoever receives it, then to the thread that stores it, then to
 * the writer; never to two.
 */
struct upload {
	struct write_req req; /* first: the writer hands it back */
	struct service *svc;
	int64_t user_id;
	const char *interface;
	uint64_t bytes_max;
	struct upload_inside inside;                  /* path owned; container_id 0: it was sent */
	char password[UNPACK_PASSWORD_BYTES_MAX + 1]; /* that opens it; "" : none was given */
	char corpus[32];
	char name[LIMIT_NAME_BYTES + 1];
	bool audited; /* by `by` */
	struct audit_by by;
	struct user *payer; /* owned; NULL: nobody */
	unsigned endpoint;
	bool paid;
	struct hasher *hasher;
	struct buf bytes;
	struct pack_stream *stream;
	uint64_t size;
	bool announced;
	/* storing */
	struct hashes hashes;
	struct pack_locator at;
	bool stored; /* `at` holds the bytes */
	bool kept;   /* and they are a file's */
	struct stored_hold hold;
	bool needs_bytes; /* the database knows no copy and we stored none */
	unsigned rounds;
	bool existing_only; /* a new analysis of a stored sample, not an upload */
	struct upload_outcome outcome;
	void (*done)(const struct upload_outcome *outcome, int rc, const struct err *err,
		     void *arg);
	void *done_arg;
};

/* ---- Names ---- */

/* The last path part, valid UTF-8 without control characters, at most LIMIT_NAME_BYTES. */
static void clean_name(char out[LIMIT_NAME_BYTES + 1], struct str name)
{
	AUTO(buf_release) struct buf text = BUF_INIT(8 * LIMIT_NAME_BYTES);
	struct str s;

	for (size_t i = name.n; i > 0; i--) {
		if (name.p[i - 1] == '/' || name.p[i - 1] == '\\') {
			name = str_make(name.p + i, name.n - i);
			break;
		}
	}
	if (name.n > 2 * LIMIT_NAME_BYTES)
		name.n = 2 * LIMIT_NAME_BYTES;
	utf8_clean(&text, name);
	for (size_t i = 0; i < text.n; i++) {
		if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
			text.p[i] = '_';
	}
	s = utf8_cut(buf_str(&text), LIMIT_NAME_BYTES);
	if (str_eq_z(s, ".") || str_eq_z(s, ".."))
		s.n = 0;
	memcpy(out, s.p, s.n);
	out[s.n] = 0;
}

/* ---- Receiving ---- */

int upload_new(struct upload **ret, struct service *svc, const struct upload_options *options,
	       struct err *err)
{
	struct upload *u;

	if (!str_eq_z(options->corpus, "main") && !str_eq_z(options->corpus, "goodware"))
		return err_set(err, ERR_INVALID,
			       "corpus '" STR_FMT
			       "' is not valid. Valid corpora are: main,goodware",
			       STR_ARG(options->corpus));
	u = mem_must_zalloc(sizeof *u);
	u->svc = svc;
	u->user_id = options->user_id;
	u->interface = options->interface;
	u->bytes_max = options->bytes_max;
	u->req.lane = options->lane;
	snprintf(u->corpus, sizeof u->corpus, STR_FMT, STR_ARG(options->corpus));
	clean_name(u->name, options->name);
	if (options->inside) {
		u->inside = *options->inside;
		u->inside.path.p = str_dup(options->inside->path);
	}
	u->audited = options->by != NULL;
	if (options->by)
		u->by = *options->by;
	if (options->payer)
		u->payer = mem_must_dup(options->payer, sizeof *u->payer);
	u->endpoint = options->endpoint;
	u->hasher = hasher_new();
	buf_init(&u->bytes, UPLOAD_MEMORY_MAX);
	writer_announce(svc->writer);
	u->announced = true;
	*ret = u;
	return 0;
}

int upload_set_password(struct upload *u, struct str password, struct err *err)
{
	if (password.n == 0)
		return 0;
	if (password.n > UNPACK_PASSWORD_BYTES_MAX || memchr(password.p, '\0', password.n))
		return err_set(err, ERR_INVALID, "The password may have up to %d bytes",
			       UNPACK_PASSWORD_BYTES_MAX);
	memcpy(u->password, password.p, password.n);
	u->password[password.n] = '\0';
	return 0;
}

void upload_set_name(struct upload *u, struct str name)
{
	clean_name(u->name, name);
}

int upload_add(struct upload *u, const void *p, size_t n, struct err *err)
{
	if (n > u->bytes_max - u->size)
		return err_set(err, ERR_TOO_LARGE, "the file is larger than %llu bytes",
			       (unsigned long long)u->bytes_max);
	hasher_add(u->hasher, p, n);
	u->size += n;
	if (!u->stream && u->size <= UPLOAD_MEMORY_MAX) {
		buf_add(&u->bytes, p, n);
		REQUIRE(!buf_failed(&u->bytes));
		return 0;
	}
	if (!u->stream) {
		TRY(pack_stream_new(&u->stream, u->svc->packs, err));
		TRY(pack_stream_add(u->stream, u->bytes.p, u->bytes.n, err));
		buf_release(&u->bytes);
	}
	return pack_stream_add(u->stream, p, n, err);
}

static void upload_withdraw(struct upload *u)
{
	if (u->announced)
		writer_withdraw(u->svc->writer);
	u->announced = false;
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	upload_withdraw(u);
	hasher_free(u->hasher);
	buf_release(&u->bytes);
	pack_stream_free(u->stream);
	free((char *)(uintptr_t)u->inside.path.p);
	explicit_bzero(u->password, sizeof u->password);
	/* Its commit failed, or another upload of the same sample came first. */
	if (u->stored && !u->kept)
		stored_garbage_add(u->svc, &u->at);
	stored_leave(u->svc, &u->hold);
	free(u->payer);
	free(u);
}

/* ---- Storing ---- */

static int intake_rows(struct sql_conn *conn, struct upload *u, int64_t now_s, int64_t *ret_file_id,
		       int64_t *ret_submission_id, struct err *err)
{
	struct file_row row = { .hashes = u->hashes,
				.size = u->size,
				.corpus = str_of(u->corpus),
				.at = u->at,
				.first_submission_s = now_s,
				.last_submission_s = now_s,
				.times_submitted = 1,
				.unique_sources = 1,
				.last_name = str_of(u->name) };
	struct submission_row submission = { .user_id = u->user_id,
					     .date_s = now_s,
					     .name = str_of(u->name),
					     .interface = u->interface };
	bool new_source;

	u->outcome.is_new = *ret_file_id == 0;
	if (u->outcome.is_new)
		TRY(file_row_insert(conn, &row, ret_file_id, err));
	submission.file_id = *ret_file_id;
	TRY(submission_add(conn, &submission, ret_submission_id, &new_source, err));
	if (!u->outcome.is_new)
		TRY(file_row_resubmitted(conn, *ret_file_id, now_s, str_of(u->name), new_source,
					 err));
	if (u->name[0])
		TRY(file_name_put(conn, *ret_file_id, str_of(u->name), now_s, err));
	return 0;
}

/* Found inside a container: nobody's submission. */
static int intake_inside(struct sql_conn *conn, struct upload *u, int64_t file_id, int64_t now_s,
			 struct arena *arena, struct err *err)
{
	const struct inside_file file = { .inside = &u->inside,
					  .hashes = &u->hashes,
					  .size = u->size,
					  .at = u->at,
					  .corpus = str_of(u->corpus),
					  .name = str_of(u->name),
					  .lane = u->req.lane };

	u->outcome.is_new = file_id == 0;
	u->outcome.hashes = u->hashes;
	u->outcome.size = u->size;
	return inside_apply(conn, &file, file_id, now_s, arena, err);
}

/* A known sample costs a call, once however often the transaction runs. */
static int upload_pay(struct upload *u, struct err *err)
{
	if (!u->payer || u->paid || u->outcome.is_new)
		return 0;
	TRY(usage_charge(u->svc, u->payer, u->endpoint, false, err));
	u->paid = true;
	return 0;
}

static int upload_audit(struct sql_conn *conn, struct upload *u, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };
	char hex[2 * SHA256_BYTES + 1], analysis[ANALYSIS_ID_CHARS + 1];

	if (!u->audited)
		return 0;
	audit_detail_init(&d);
	hex_encode(u->hashes.sha256, SHA256_BYTES, hex);
	analysis_id_format(u->hashes.sha256, u->outcome.intake, analysis);
	if (u->name[0])
		json_kv_z(&d.json, "name", u->name);
	json_kv_i64(&d.json, "size", (int64_t)u->size);
	if (!u->existing_only)
		json_kv_bool(&d.json, "new", u->outcome.is_new);
	json_kv_z(&d.json, "analysis", analysis);
	return audit_write(u->svc, conn, &u->by,
			   u->existing_only ? AUDIT_FILE_ANALYSE : AUDIT_FILE_UPLOAD, str_of(hex),
			   audit_detail_end(&d), err);
}

/* On the writer's thread, in its transaction. */
static int intake_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	struct upload *u = (struct upload *)req;
	AUTO(arena_drop) struct arena *arena = arena_new("intake", UPLOAD_ARENA_MAX);
	int64_t now_s = clock_unix_s(u->svc->clock);
	int64_t file_id, submission_id = 0;
	bool joined;

	TRY(file_row_find(conn, u->hashes.sha256, &file_id, err));
	u->needs_bytes = !file_id && !u->stored;
	if (u->needs_bytes)
		return u->existing_only ? err_set(err, ERR_NOT_FOUND, "the file was removed") : 0;
	if (u->inside.container_id)
		return intake_inside(conn, u, file_id, now_s, arena, err);
	if (!u->existing_only)
		TRY(intake_rows(conn, u, now_s, &file_id, &submission_id, err));
	TRY(upload_pay(u, err));
	TRY(analysis_queue(conn, file_id, submission_id, req->lane, now_s, &u->outcome.analysis_id,
			   &u->outcome.intake, &joined, err));
	if (u->password[0])
		TRY(bundle_password_set(conn, u->outcome.analysis_id, str_of(u->password), err));
	if (!u->existing_only)
		TRY(report_refresh(conn, file_id, 0, now_s, arena, err));
	u->outcome.hashes = u->hashes;
	u->outcome.size = u->size;
	return upload_audit(conn, u, err);
}

static void upload_store(void *arg);

static void upload_end(struct upload *u, int rc, const struct err *err)
{
	if (rc && u->paid)
		usage_refund(u->svc, u->payer, u->endpoint, false);
	u->done(rc ? NULL : &u->outcome, rc, err, u->done_arg);
	upload_free(u);
}

/* On the writer's thread, after the commit. */
static void intake_done(struct write_req *req, int rc, const struct err *err)
{
	struct upload *u = (struct upload *)req;
	struct err busy;

	if (rc == 0 && u->needs_bytes) {
		/* The copy we relied on was removed between our look and the commit. */
		if (++u->rounds < UPLOAD_ROUNDS_MAX) {
			rc = pool_run(u->svc->pool, upload_store, u, &busy);
			if (rc == 0)
				return;
		} else {
			rc = err_set(&busy, ERR_BUSY, "the file is being removed");
		}
		err = &busy;
	}
	if (rc == 0) {
		u->kept = u->outcome.is_new;
		report_cache_drop(u->svc->reports, u->hashes.sha256);
		if (u->inside.container_id) {
			metric_add(METRIC_contained_files_total, 1);
			metric_add(METRIC_files_new_total, u->outcome.is_new);
		} else if (!u->existing_only) {
			metric_add(METRIC_uploads_total, 1);
			metric_add(METRIC_upload_bytes_total, (int64_t)u->size);
			if (u->outcome.is_new)
				metric_add(METRIC_files_new_total, 1);
		}
		hunt_wake(u->svc, req->lane);
	}
	upload_end(u, rc, err);
}

static int upload_keep_bytes(struct upload *u, struct err *err)
{
	struct pack_stream *stream;

	if (u->stored)
		return 0;
	stored_enter(u->svc, &u->hold);
	if (!u->stream) {
		TRY(packs_append(u->svc->packs, &u->hashes, u->bytes.p, u->bytes.n, &u->at, err));
	} else {
		stream = STEAL(u->stream);
		TRY(pack_stream_finish(stream, &u->hashes, &u->at, err));
	}
	u->stored = true;
	u->req.needs_barrier = true;
	return 0;
}

/* Is a copy stored already, and where? */
static int upload_is_known(struct upload *u, bool *ret, struct pack_locator *ret_at,
			   struct err *err)
{
	AUTO(arena_drop) struct arena *arena = arena_new("known", UPLOAD_ARENA_MAX);
	struct sql_conn *conn;
	struct file_row row;
	int64_t id;
	int rc;

	TRY(sql_reader_take(&conn, u->svc->db, err));
	rc = file_row_find(conn, u->hashes.sha256, &id, err);
	*ret = rc == 0 && id != 0;
	if (*ret && u->password[0]) {
		rc = file_row_by_id(conn, id, arena, &row, err);
		*ret_at = row.at;
	}
	sql_reader_give(u->svc->db, conn);
	return rc;
}

/* A wrong password: nothing of the sample is kept that was not there before. */
static int upload_try_password(struct upload *u, const struct pack_locator *at, struct err *err)
{
	int rc = password_check(u->svc, at, str_of(u->password), err);
	struct err why;

	if (!rc || !u->stored)
		return rc;
	if (files_erase_garbage(u->svc, &u->at, &why) == 0)
		u->stored = false;
	else
		log_event(LOG_WARN, "erasure_failed", LOG_I64("pack", u->at.pack),
			  LOG_Z("error", why.msg));
	return rc;
}

/* Bytes into a pack unless the sample is known, rows to the writer. */
static int upload_try_store(struct upload *u, struct err *err)
{
	struct pack_locator at;
	bool known;

	TRY(upload_is_known(u, &known, &at, err));
	if (!known) {
		TRY(upload_keep_bytes(u, err));
		at = u->at;
	}
	if (u->password[0])
		TRY(upload_try_password(u, &at, err));
	u->req.apply = intake_apply;
	u->req.done = intake_done;
	TRY(writer_submit(u->svc->writer, &u->req, err));
	return 0;
}

static void upload_store(void *arg)
{
	struct upload *u = arg;
	struct err err;
	int rc = upload_try_store(u, &err);

	if (rc)
		upload_end(u, rc, &err);
}

int upload_finish(struct upload *u,
		  void (*done)(const struct upload_outcome *outcome, int rc, const struct err *err,
			       void *arg),
		  void *arg, struct err *err)
{
	int rc;

	hasher_end(u->hasher, &u->hashes);
	if (u->inside.container_id)
		u->inside.only_link =
			u->inside.is_around(u->inside.is_around_arg, u->hashes.sha256);
	u->done = done;
	u->done_arg = arg;
	/* Not before the request is queued: the group would not wait for it. */
	if (u->stream || u->password[0]) {
		upload_withdraw(u);
		rc = pool_run(u->svc->pool, upload_store, u, err);
	} else {
		struct service *svc = u->svc;
		u->announced = false;
		rc = upload_try_store(u, err);
		writer_withdraw(svc->writer);
	}
	if (rc)
		upload_free(u);
	return rc;
}

int file_reanalyse(struct service *svc, const struct file_info *file, const struct audit_by *by,
		   void (*done)(const struct upload_outcome *outcome, int rc, const struct err *err,
				void *arg),
		   void *arg, struct err *err)
{
	struct upload *u = mem_must_zalloc(sizeof *u);
	int rc;

	u->svc = svc;
	u->user_id = by ? by->user_id : 0;
	u->audited = by != NULL;
	if (by)
		u->by = *by;
	u->hashes = file->hashes;
	u->size = file->size;
	u->existing_only = true;
	u->req.lane = LANE_API;
	u->req.apply = intake_apply;
	u->req.done = intake_done;
	u->done = done;
	u->done_arg = arg;
	rc = writer_submit(svc->writer, &u->req, err);
	if (rc)
		upload_free(u);
	return rc;
}

/* ---- Look-up ---- */

static int file_lookup(struct service *svc, struct str hash, struct arena *arena,
		       struct file_info *ret, struct err *err)
{
	struct sql_conn *conn;
	struct file_row row;
	struct str report;
	int64_t first_user_id = 0;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = file_row_by_hash(conn, hash, arena, &row, err);
	if (rc == 0)
		rc = file_report(conn, row.id, arena, &report, err);
	if (rc == 0)
		rc = submission_first_user(conn, row.id, &first_user_id, err);
	sql_reader_give(svc->db, conn);
	if (rc)
		return rc;
	*ret = (struct file_info){ .id = row.id,
				   .hashes = row.hashes,
				   .size = row.size,
				   .at = row.at,
				   .report = report,
				   .name = row.last_name,
				   .first_submission_s = row.first_submission_s,
				   .last_submission_s = row.last_submission_s,
				   .first_user_id = first_user_id };
	return 0;
}

int file_get_sha256(struct service *svc, const uint8_t sha256[SHA256_BYTES], struct arena *arena,
		    struct file_info *ret, struct err *err)
{
	uint64_t version;

	if (report_cache_get(svc->reports, sha256, arena, ret, &version))
		return 0;
	TRY(file_lookup(svc, str_make(sha256, SHA256_BYTES), arena, ret, err));
	report_cache_put(svc->reports, version, ret);
	return 0;
}

bool file_hash_parse(struct str id, uint8_t out[SHA256_BYTES], size_t *ret_n)
{
	*ret_n = id.n / 2;
	return (id.n == 64 || id.n == 40 || id.n == 32) && hex_decode(id, out, *ret_n);
}

int file_get(struct service *svc, struct str id, struct arena *arena, struct file_info *ret,
	     struct err *err)
{
	uint8_t hash[SHA256_BYTES];
	size_t n;

	if (!file_hash_parse(id, hash, &n))
		return err_set(err, ERR_INVALID, "not an MD5, SHA-1 or SHA-256 hash");
	if (n == SHA256_BYTES)
		return file_get_sha256(svc, hash, arena, ret, err);
	return file_lookup(svc, str_make(hash, n), arena, ret, err);
}

void analysis_id_format(const uint8_t sha256[SHA256_BYTES], int64_t intake,
			char ret[ANALYSIS_ID_CHARS + 1])
{
	char hex[2 * SHA256_BYTES + 1];

	hex_encode(sha256, SHA256_BYTES, hex);
	snprintf(ret, ANALYSIS_ID_CHARS + 1, "f-%s-%lld", hex, (long long)intake);
}

int analysis_id_parse(struct str id, uint8_t ret_sha256[SHA256_BYTES], int64_t *ret_intake,
		      struct err *err)
{
	uint64_t number;

	if (id.n < 68 || id.p[0] != 'f' || id.p[1] != '-' || id.p[66] != '-' ||
	    !hex_decode(str_make(id.p + 2, 64), ret_sha256, SHA256_BYTES) ||
	    !str_to_u64(str_make(id.p + 67, id.n - 67), INT64_MAX, &number))
		return err_set(err, ERR_INVALID, "not an analysis id");
	*ret_intake = (int64_t)number;
	return 0;
}

struct analysis_info analysis_info_of(const struct analysis_row *row)
{
	struct analysis_info info = { .id = row->id,
				      .created_s = row->created_s,
				      .completed_s = row->completed_s,
				      .state = (enum analysis_state)row->state,
				      .generation = row->generation,
				      .intake = row->intake,
				      .not_run = row->not_run };

	memcpy(info.sha256, row->sha256, SHA256_BYTES);
	return info;
}

int analysis_get(struct service *svc, struct str id, struct arena *arena, struct analysis_info *ret,
		 struct err *err)
{
	uint8_t sha256[SHA256_BYTES];
	struct analysis_row row;
	struct sql_conn *conn;
	int64_t intake;
	int rc;

	TRY(analysis_id_parse(id, sha256, &intake, err));
	TRY(sql_reader_take(&conn, svc->db, err));
	rc = analysis_row_get(conn, intake, arena, &row, err);
	sql_reader_give(svc->db, conn);
	if (rc)
		return rc;
	if (memcmp(row.sha256, sha256, SHA256_BYTES) != 0)
		return err_set(err, ERR_NOT_FOUND, "no such analysis");
	*ret = analysis_info_of(&row);
	return 0;
}

int files_summary(struct service *svc, struct files_summary *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = files_totals(conn, &ret->files, &ret->bytes, &ret->queued, err);
	sql_reader_give(svc->db, conn);
	return rc;
}

int analyses_open(struct service *svc, int64_t id, uint64_t *ret, struct err *err)
{
	struct sql_conn *conn;
	int rc;

	TRY(sql_reader_take(&conn, svc->db, err));
	rc = analyses_open_until(conn, id, ret, err);
	sql_reader_give(svc->db, conn);
	return rc;
}
