#ifndef CORPUS_WORLD_H
#define CORPUS_WORLD_H
#include "accounts_world.h"
#include "failing_io.h"
#include "index_world.h"

#include <dirent.h>
#include <poll.h>
#include <sys/mman.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/metric.h"
#include "corpus_internal.h"
#include "index/merge.h"
#include "service/files.h"

enum {
	AGE_S = 60,
	ANALYSIS_WAIT_S = 900, /* then a file is indexed without its facts */
	DEADLINE_MS = 20000,
	FAN = 3
};

/* A service whose index merges early, on a disk whose calls may fail. */
struct corpus_world {
	struct world *w;
	struct failing disk;
};

static inline int set_up(void **state)
{
	struct corpus_world *v = mem_must_zalloc(sizeof *v);

	v->w = world_new();
	v->w->options.index.merge_fan = FAN;
	v->w->options.index.rest_seconds = 0; /* here days pass in a moment */
	v->w->options.index.threads = 3;
	failing_init(&v->disk, v->w->dir);
	v->w->options.io = &v->disk.io;
	world_open(v->w);
	*state = v;
	return 0;
}

static inline int tear_down(void **state)
{
	struct corpus_world *v = *state;

	service_close(v->w->svc);
	failing_release(&v->disk);
	test_dir_remove(v->w->dir);
	free(v->w);
	free(v);
	return 0;
}

static inline void reopen(struct corpus_world *v)
{
	service_close(v->w->svc);
	world_open(v->w);
}

/* Sample number `n`: its bytes are made of it alone. */
static inline struct sample sample_of(unsigned n)
{
	return sample_new(300 + 41 * n % 5000, n % SAMPLE_KINDS, n);
}

static inline void upload(struct corpus_world *v, unsigned number, char hex[65])
{
	struct upload_options options = { .lane = LANE_API,
					  .name = STR("a name"),
					  .corpus = number % 2 ? STR("main") : STR("goodware"),
					  .interface = "ingest",
					  .bytes_max = 1 << 20 };
	struct sample s = sample_of(number);
	int fd = memfd_create("sample", MFD_CLOEXEC);
	struct upload_outcome outcome;
	struct err err;

	assert_int_equal(write(fd, s.p, s.n), s.n);
	lseek(fd, 0, SEEK_SET);
	CHECK_OK(upload_fd(v->w->svc, &options, fd, &outcome, &err), &err);
	close(fd);
	free(s.p);
	if (hex)
		hex_encode(outcome.hashes.sha256, SHA256_BYTES, hex);
}

static inline void upload_some(struct corpus_world *v, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		upload(v, i, NULL);
}

/* The list as "1-5* 9-12": ranges in order, one that is stale with a star. */
static inline void list_text(struct corpus_world *v, char out[512])
{
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	size_t n = 0;

	out[0] = 0;
	for (size_t i = 0; i < s->count; i++)
		n += (size_t)snprintf(out + n, 512 - n, "%s%lld-%lld%s", i ? " " : "",
				      (long long)s->segments[i]->row.first_id,
				      (long long)s->segments[i]->row.last_id,
				      s->segments[i]->is_stale ? "*" : "");
	corpus_snapshot_free(s);
}

/* Time passes step by step until the list is this. */
static inline void wait_list(struct corpus_world *v, const char *want)
{
	char got[512];

	for (int ms = 0; ms < DEADLINE_MS; ms += 5) {
		list_text(v, got);
		if (strcmp(got, want) == 0)
			return;
		clock_fake_advance(&v->w->clock, 10 * 1000000);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 5);
	}
	fail_msg("the list is '%s', not '%s'", got, want);
}

/* Documents of the list: it follows what was committed a moment later. */
static inline int64_t list_docs(struct corpus_world *v)
{
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	int64_t docs = 0;

	for (size_t i = 0; i < s->count; i++)
		docs += s->segments[i]->row.docs;
	corpus_snapshot_free(s);
	return docs;
}

/* All uploaded so far are old enough to be indexed without an analysis. */
static inline void let_wait(struct corpus_world *v)
{
	clock_fake_advance(&v->w->clock, (ANALYSIS_WAIT_S + 1) * INT64_C(1000000));
}

/* Files in the index's folder. */
static inline unsigned files_in_index(struct corpus_world *v)
{
	char path[600];
	unsigned n = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "%s/index", v->w->dir);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* The files of what was replaced go soon after the list has changed. */
static inline void wait_files(struct corpus_world *v, unsigned want)
{
	for (int ms = 0; files_in_index(v) != want; ms++) {
		if (ms == DEADLINE_MS)
			fail_msg("%u files in the folder, not %u", files_in_index(v), want);
		poll(NULL, 0, 1);
	}
}

/* What is wrong with the document of the file with that number; NULL: nothing is. */
static inline const char *doc_wrong(const struct corpus_snapshot *s, const struct file_row *row,
				    const struct sample *sample, unsigned number)
{
	struct corpus_part part;
	struct segment_doc doc;
	int64_t at = row->id;
	uint32_t d;

	if (!corpus_snapshot_next(s, &at, row->id, &part) || !part.segment)
		return "no segment covers it";
	if (!segment_doc_find(part.segment, row->id, &d))
		return "it has no document";
	if (corpus_is_dead(&part, d))
		return "its document is dead";
	segment_doc_get(part.segment, d, &doc);
	if (memcmp(doc.sha256, row->hashes.sha256, sizeof doc.sha256) != 0)
		return "the SHA-256";
	if (doc.size != sample->n || doc.pack != row->at.pack || doc.offset != row->at.offset)
		return "its place";
	if (doc.first_seen_s != row->first_submission_s)
		return "its date";
	if (doc.corpus != (number % 2 ? SEGMENT_MAIN : SEGMENT_GOODWARE))
		return "its corpus";
	if (doc.flags != SEGMENT_DOC_NO_FEATURES)
		return "its flags";
	if (memcmp(doc.head, sample->p, sizeof doc.head) != 0)
		return "its first bytes";
	return doc_may_contain(part.segment, d, sample->p, sample->n) ? NULL : "its columns";
}

static inline const char *file_wrong(const struct corpus_snapshot *s, struct sql_conn *conn,
				     unsigned number)
{
	AUTO(arena_drop) struct arena *arena = arena_new("check", 1 << 20);
	struct sample sample = sample_of(number);
	const char *wrong = "it is not there";
	uint8_t sha256[SHA256_BYTES];
	struct file_row row;

	sha256_of(sample.p, sample.n, sha256);
	if (file_row_by_hash(conn, str_make((char *)sha256, sizeof sha256), arena, &row, NULL) == 0)
		wrong = doc_wrong(s, &row, &sample, number);
	free(sample.p);
	return wrong;
}

/*
 * Does every file that is there have a document with what is known of it and its bytes?
 * Reader and snapshot are given back before it fails: else the service does not close, and
 * the message is not seen.
 */
static inline void check_files(struct corpus_world *v, unsigned first, unsigned last)
{
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	const char *wrong = NULL;
	struct sql_conn *conn;
	unsigned number = first;
	struct err err;

	CHECK_OK(sql_reader_take(&conn, service_db(v->w->svc), &err), &err);
	while (number <= last && !(wrong = file_wrong(s, conn, number)))
		number++;
	sql_reader_give(service_db(v->w->svc), conn);
	corpus_snapshot_free(s);
	if (wrong)
		fail_msg("file %u: %s", number, wrong);
}

static inline void no_log(enum log_level level, struct str line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}
#endif
