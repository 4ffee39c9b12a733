#include "control_internal.h"

#include <poll.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "service/backup.h"
#include "service/reindex.h"
#include "service/verify.h"

enum {
	FOLDER_SHOWN_BYTES = 1024 /* of a path, in the audit log */
};

/* ---- What is watched by the other side ---- */

static void send_progress(const char *step, uint64_t done, uint64_t all, void *arg)
{
	ANSWER(arg, CONTROL_ITEM, FIELD_U64(CONTROL_PROGRESS), FIELD_STR(str_of(step)),
	       FIELD_U64(done), FIELD_U64(all));
	connection_flush(arg, false);
}

static void send_finding(const char *check, const char *what, void *arg)
{
	ANSWER(arg, CONTROL_ITEM, FIELD_U64(CONTROL_FINDING), FIELD_STR(str_of(check)),
	       FIELD_STR(str_of(what)));
}

/* The other side is gone, or the server stops. */
static bool is_over(void *arg)
{
	struct connection *c = arg;
	struct pollfd ready[2] = { { .fd = c->fd }, { .fd = c->stop_fd, .events = POLLIN } };

	return c->broken || poll(ready, 2, 0) > 0;
}

static struct task task_of(struct connection *c, uint64_t rate)
{
	return (struct task){ .progress = send_progress,
			      .found = send_finding,
			      .stops = is_over,
			      .arg = c,
			      .rate = rate };
}

/* ---- weir verify ---- */

static int audit_verify(struct connection *c, uint64_t records, uint64_t bad, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	json_kv_i64(&d.json, "records", (int64_t)records);
	json_kv_i64(&d.json, "findings", (int64_t)bad);
	return audit_write_alone(c->svc, &c->by, AUDIT_VERIFY, STR(""), audit_detail_end(&d), err);
}

int control_verify(struct connection *c, struct frame *f, struct err *err)
{
	struct verify_options options = { .reclaim = frame_take_u64(f) != 0 };
	struct task task = task_of(c, frame_take_u64(f));
	struct verify_result r;

	if (f->bad)
		return err_set(err, ERR_INVALID, "no options were sent");
	TRY(service_verify(c->svc, &options, &task, &r, err));
	TRY(audit_verify(c, r.records, task.findings, err));
	ANSWER(c, CONTROL_OK, FIELD_U64(r.records), FIELD_U64(task.findings), FIELD_U64(r.loose),
	       FIELD_U64(r.loose_bytes), FIELD_U64(r.reclaimed));
	return 0;
}

/* ---- weir reindex ---- */

static int audit_reindex(struct connection *c, const struct reindex_options *options,
			 const struct reindex_result *r, struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	json_kv_i64(&d.json, "segment", options->segment);
	json_kv_i64(&d.json, "segments", (int64_t)r->segments);
	if (options->features)
		json_kv_i64(&d.json, "files", (int64_t)r->files);
	return audit_write_alone(c->svc, &c->by, AUDIT_REINDEX, STR(""), audit_detail_end(&d), err);
}

int control_reindex(struct connection *c, struct frame *f, struct err *err)
{
	struct reindex_options options = { .segment = (int64_t)frame_take_u64(f) };
	struct task task = task_of(c, 0);
	struct reindex_result r;

	options.features = frame_take_u64(f) != 0;
	if (f->bad || options.segment < 0)
		return err_set(err, ERR_INVALID, "no segment was named");
	TRY(service_reindex(c->svc, &options, &task, &r, err));
	TRY(audit_reindex(c, &options, &r, err));
	ANSWER(c, CONTROL_OK, FIELD_U64(r.segments), FIELD_U64(r.sample_bytes), FIELD_U64(r.files),
	       FIELD_U64(r.failed_files));
	return 0;
}

/* ---- weir backup ---- */

static int audit_backup(struct connection *c, const char *folder, const struct backup_result *r,
			struct err *err)
{
	AUTO(audit_detail_drop) struct audit_detail d = { 0 };

	audit_detail_init(&d);
	json_kv_str(&d.json, "folder", utf8_cut(str_of(folder), FOLDER_SHOWN_BYTES));
	json_kv_i64(&d.json, "generation", (int64_t)r->generation);
	json_kv_i64(&d.json, "samples", (int64_t)r->samples);
	return audit_write_alone(c->svc, &c->by, AUDIT_BACKUP, STR(""), audit_detail_end(&d), err);
}

static int do_backup(struct connection *c, struct frame *f, int folder_fd, struct err *err)
{
	AUTO(mem_drop) char *folder = str_dup(frame_take_str(f));
	AUTO(mem_drop) char *version = str_dup(frame_take_str(f));
	struct backup_options options = { .folder_fd = folder_fd,
					  .folder = folder,
					  .version = version,
					  .keep = (uint32_t)frame_take_u64(f),
					  .adopt = frame_take_u64(f) != 0 };
	struct task task = task_of(c, frame_take_u64(f));
	struct backup_result r;

	if (f->bad || options.keep == 0 || folder_fd < 0)
		return err_set(err, ERR_INVALID, "no folder was sent");
	TRY(service_backup(c->svc, &options, &task, &r, err));
	TRY(audit_backup(c, folder, &r, err));
	ANSWER(c, CONTROL_OK, FIELD_U64(r.generation), FIELD_U64(r.samples),
	       FIELD_U64(r.sample_bytes), FIELD_U64(r.packs), FIELD_U64(r.packs_copied),
	       FIELD_U64(r.bytes), FIELD_U64(r.bytes_copied), FIELD_U64(r.removed),
	       FIELD_U64(r.date_s), FIELD_U64(task.findings));
	return 0;
}

int control_backup(struct connection *c, struct frame *f, struct err *err)
{
	int fd = frame_in_take_fd(&c->in);
	int rc = do_backup(c, f, fd, err);

	if (fd >= 0)
		close(fd);
	return rc;
}
