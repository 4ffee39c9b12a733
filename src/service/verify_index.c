#include "verify_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/mem.h"
#include "corpus_internal.h"
#include "service/task.h"

/*
 * Segments are opened anew, so that what is looked at is what a start would see; one that
 * is merged or replaced meanwhile stays as it was while it is open.
 */
enum {
	VERIFY_FILES = 1024, /* asked for together */
};
static const char check_name[] = "index";

struct verify_segment {
	struct service *svc;
	struct sql_conn *conn;
	struct task *task;
	const struct segment_row *row;
	char path[CORPUS_PATH_BYTES];
};

static void found(struct verify_segment *v, const char *what)
{
	task_found(v->task, check_name, "segment %" PRId64 ", %s: %.300s", v->row->id, v->path,
		   what);
}

/* ---- Its pages ---- */

static void bad_page(const char *section, uint64_t offset, void *arg)
{
	struct verify_segment *v = arg;

	task_found(v->task, check_name,
		   "segment %" PRId64 ", %s: %s is damaged at byte %" PRIu64
		   " ('weir reindex --segment %" PRId64 "' builds it again)",
		   v->row->id, v->path, section, offset, v->row->id);
}

static bool page_goes_on(uint64_t bytes, void *arg)
{
	return task_goes_on(((struct verify_segment *)arg)->task, bytes);
}

/* ---- Its documents ---- */

static void check_file(struct verify_segment *v, const struct segment *seg,
		       const struct index_file *file)
{
	char hex[2 * SHA256_BYTES + 1];
	struct segment_doc doc;
	const char *what = NULL;
	uint32_t d;

	if (!segment_doc_find(seg, file->id, &d)) {
		what = "it is not there";
	} else {
		segment_doc_get(seg, d, &doc);
		if (memcmp(doc.sha256, file->sha256, SHA256_BYTES) != 0)
			what = "it has another SHA-256 there";
		else if (doc.size != file->at.len)
			what = "it has another size there";
		else if (doc.pack != file->at.pack || doc.offset != file->at.offset)
			what = "it is said to be at another place";
		else if (doc.corpus != (file->is_goodware ? SEGMENT_GOODWARE : SEGMENT_MAIN))
			what = "it is of another corpus there";
	}
	if (!what)
		return;
	hex_encode(file->sha256, SHA256_BYTES, hex);
	task_found(v->task, check_name, "segment %" PRId64 ", %s: file %s: %s", v->row->id, v->path,
		   hex, what);
}

static int check_files(struct verify_segment *v, const struct segment *seg, struct err *err)
{
	AUTO(mem_drop) struct index_file *files = mem_must_zalloc(VERIFY_FILES * sizeof *files);
	struct index_files_query q = { .after_id = v->row->first_id - 1,
				       .last_id = v->row->last_id,
				       .max = VERIFY_FILES };
	size_t n;

	do {
		TRY(index_files(v->conn, &q, files, &n, err));
		for (size_t i = 0; i < n; i++)
			check_file(v, seg, &files[i]);
		if (n)
			q.after_id = files[n - 1].id;
		if (!task_goes_on(v->task, 0))
			return err_set(err, ERR_CLOSED, "it was stopped");
	} while (n == VERIFY_FILES);
	return 0;
}

/* ---- All of them ---- */

/* Is it still one that counts? */
static int is_there(struct verify_segment *v, bool *ret, struct err *err)
{
	AUTO(mem_drop) struct segment_row *rows = NULL;
	size_t n;

	*ret = false;
	TRY(segment_rows(v->conn, &rows, &n, err));
	for (size_t i = 0; i < n; i++)
		*ret = *ret || rows[i].id == v->row->id;
	return 0;
}

static int check_segment(struct verify_segment *v, struct err *err)
{
	struct segment *seg = NULL;
	struct err why = { 0 };
	bool there;
	int rc = segment_open(&seg, v->svc->io, v->path, &why);

	if (rc == -ERR_NO_MEMORY)
		return err_set(err, why.kind, "%s", why.msg);
	if (rc) {
		TRY(is_there(v, &there, err));
		if (there)
			found(v, why.msg);
		return 0;
	}
	if (segment_first_id(seg) != v->row->first_id || segment_last_id(seg) != v->row->last_id ||
	    segment_docs(seg) != v->row->docs || segment_file_bytes(seg) != v->row->bytes)
		found(v, "range, files or bytes are not those of its row");
	rc = segment_check(seg, bad_page, page_goes_on, v, err);
	if (rc == 0)
		rc = check_files(v, seg, err);
	segment_unref(seg);
	return rc;
}

int verify_index(struct service *svc, struct sql_conn *conn, struct task *task, struct err *err)
{
	AUTO(mem_drop) struct segment_row *rows = NULL;
	uint64_t bytes = 0;
	size_t n;

	TRY(segment_rows(conn, &rows, &n, err));
	for (size_t i = 0; i < n; i++)
		bytes += rows[i].bytes;
	task_step(task, "segments of the index", bytes);
	for (size_t i = 0; i < n; i++) {
		struct verify_segment v = {
			.svc = svc, .conn = conn, .task = task, .row = &rows[i]
		};

		corpus_path(v.path, rows[i].id);
		TRY(check_segment(&v, err));
	}
	return 0;
}
