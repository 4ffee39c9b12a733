/*
 * The corpus: files become segments, segments one, removed files are seen as such; and
 * what is lost, damaged or interrupted is made again.
 */
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

struct corpus_world {
	struct world *w;
	struct failing disk;
};

static int set_up(void **state)
{
	struct corpus_world *v = mem_must_zalloc(sizeof *v);

	v->w = world_new();
	v->w->options.index.merge_fan = FAN;
	v->w->options.index.threads = 3;
	failing_init(&v->disk, v->w->dir);
	v->w->options.io = &v->disk.io;
	world_open(v->w);
	*state = v;
	return 0;
}

static int tear_down(void **state)
{
	struct corpus_world *v = *state;

	service_close(v->w->svc);
	failing_release(&v->disk);
	test_dir_remove(v->w->dir);
	free(v->w);
	free(v);
	return 0;
}

static void reopen(struct corpus_world *v)
{
	service_close(v->w->svc);
	world_open(v->w);
}

/* Sample number `n`: its bytes are made of it alone. */
static struct sample sample_of(unsigned n)
{
	return sample_new(300 + 41 * n % 5000, n % SAMPLE_KINDS, n);
}

static void upload(struct corpus_world *v, unsigned number, char hex[65])
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

static void upload_some(struct corpus_world *v, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		upload(v, i, NULL);
}

/* The list as "1-5* 9-12": ranges in order, one that is stale with a star. */
static void list_text(struct corpus_world *v, char out[512])
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
static void wait_list(struct corpus_world *v, const char *want)
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

/* All uploaded so far are old enough to be indexed without an analysis. */
static void let_wait(struct corpus_world *v)
{
	clock_fake_advance(&v->w->clock, (ANALYSIS_WAIT_S + 1) * INT64_C(1000000));
}

/* Files in the index's folder. */
static unsigned files_in_index(struct corpus_world *v)
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
static void wait_files(struct corpus_world *v, unsigned want)
{
	for (int ms = 0; files_in_index(v) != want; ms++) {
		if (ms == DEADLINE_MS)
			fail_msg("%u files in the folder, not %u", files_in_index(v), want);
		poll(NULL, 0, 1);
	}
}

/* Does every file that is there have a document with what is known of it and its bytes? */
static void check_files(struct corpus_world *v, unsigned first, unsigned last)
{
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	AUTO(arena_drop) struct arena *arena = arena_new("check", 1 << 20);
	struct sql_conn *conn;
	struct err err;

	CHECK_OK(sql_reader_take(&conn, service_db(v->w->svc), &err), &err);
	for (unsigned number = first; number <= last; number++) {
		struct sample sample = sample_of(number);
		struct corpus_part part;
		struct segment_doc doc;
		uint8_t sha256[SHA256_BYTES];
		struct file_row row;
		int64_t at;
		uint32_t d;

		sha256_of(sample.p, sample.n, sha256);
		CHECK_OK(file_row_by_hash(conn, str_make((char *)sha256, sizeof sha256), arena,
					  &row, &err),
			 &err);
		at = row.id;
		assert_true(corpus_snapshot_next(s, &at, row.id, &part));
		assert_non_null(part.segment);
		assert_true(segment_doc_find(part.segment, row.id, &d));
		assert_false(corpus_is_dead(&part, d));
		segment_doc_get(part.segment, d, &doc);
		assert_memory_equal(doc.sha256, sha256, sizeof sha256);
		assert_int_equal(doc.size, sample.n);
		assert_int_equal(doc.pack, row.at.pack);
		assert_int_equal(doc.offset, row.at.offset);
		assert_int_equal(doc.first_seen_s, row.first_submission_s);
		assert_int_equal(doc.corpus, number % 2 ? SEGMENT_MAIN : SEGMENT_GOODWARE);
		assert_int_equal(doc.flags, SEGMENT_DOC_NO_FEATURES);
		assert_memory_equal(doc.head, sample.p, sizeof doc.head);
		assert_true(doc_may_contain(part.segment, d, sample.p, sample.n));
		free(sample.p);
	}
	sql_reader_give(service_db(v->w->svc), conn);
	corpus_snapshot_free(s);
}

/* ---- Ranges ---- */

static void without_segments_nobody_covers_a_range(void **state)
{
	struct corpus_world *v = *state;
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	struct corpus_part part;
	int64_t at = 5;

	assert_int_equal(corpus_snapshot_segments(s), 0);
	assert_true(corpus_snapshot_next(s, &at, 90, &part));
	assert_int_equal(part.first_id, 5);
	assert_int_equal(part.last_id, 90);
	assert_null(part.segment);
	assert_int_equal(at, 91);
	assert_false(corpus_snapshot_next(s, &at, 90, &part));
	corpus_snapshot_free(s);
}

static void parts_are_segments_and_holes(void **state)
{
	struct corpus_world *v = *state;
	struct corpus_snapshot *s;
	struct corpus_part part;
	char text[512] = "";
	int64_t at = 3;

	v->w->options.index.docs_max = 4; /* of one segment */
	reopen(v);
	upload_some(v, 1, 9);
	let_wait(v);
	wait_list(v, "1-4 5-8 9-9");
	s = corpus_snapshot_take(v->w->svc);
	while (corpus_snapshot_next(s, &at, 12, &part))
		snprintf(text + strlen(text), sizeof text - strlen(text), "%lld-%lld%s ",
			 (long long)part.first_id, (long long)part.last_id,
			 part.segment ? "" : "?");
	assert_string_equal(text, "3-4 5-8 9-9 10-12? ");
	corpus_snapshot_free(s);
	check_files(v, 1, 9);
}

/* ---- When ---- */

static void files_wait_for_their_analysis_and_for_each_other(void **state)
{
	struct corpus_world *v = *state;
	char text[512];

	upload_some(v, 1, 3);
	/* Steps are seen by the metric that each one sets. */
	for (int i = 0; metric_get(METRIC_index_waiting) != 3; i++) {
		assert_true(i < DEADLINE_MS);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	clock_fake_advance(&v->w->clock, (ANALYSIS_WAIT_S - 1) * INT64_C(1000000));
	corpus_wake(v->w->svc);
	list_text(v, text);
	assert_string_equal(text, "");
	wait_list(v, "1-3");
	check_files(v, 1, 3);
	assert_int_equal(metric_get(METRIC_index_segments), 1);
	assert_int_equal(metric_get(METRIC_index_docs), 3);
	/* What was analysed waits for others only. */
	upload_some(v, 4, 5);
	world_exec(v->w, "UPDATE analysis SET state = 2", NULL);
	wait_list(v, "1-3 4-5");
}

static void nothing_is_written_below_the_disk_reserve(void **state)
{
	struct corpus_world *v = *state;
	char text[512];

	upload_some(v, 1, 3);
	let_wait(v);
	service_close(v->w->svc);
	v->w->options.disk_reserve_bytes = UINT64_MAX / 2;
	world_open(v->w);
	for (int i = 0; i < 20; i++) {
		clock_fake_advance(&v->w->clock, 60 * 1000000);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	list_text(v, text);
	assert_string_equal(text, "");
	service_close(v->w->svc);
	v->w->options.disk_reserve_bytes = 0;
	world_open(v->w);
	wait_list(v, "1-3");
}

struct features_req {
	struct write_req req;
	int64_t file_id;
	uint32_t version;
	uint64_t hash;
};

static int features_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct features_req *r = (const struct features_req *)req;

	return file_features_put(conn, r->file_id, r->version, &r->hash, 1, err);
}

static void put_feature(struct corpus_world *v, int64_t file_id, uint32_t version, uint64_t hash)
{
	struct features_req r = { .req = { .apply = features_apply, .lane = LANE_API },
				  .file_id = file_id,
				  .version = version,
				  .hash = hash };
	struct err err;

	CHECK_OK(writer_call(service_writer(v->w->svc), &r.req, &err), &err);
}

/* Those of another version are not known. */
static void features_of_the_present_version_are_indexed(void **state)
{
	static const uint64_t hash = UINT64_C(0xfeed0123456789ab);
	const uint32_t version = ((struct corpus_world *)*state)->w->options.index.features_version;
	struct corpus_world *v = *state;
	struct corpus_snapshot *s;
	struct segment *seg;
	uint32_t docs[4], n, doc;
	struct err err;

	upload_some(v, 1, 3);
	put_feature(v, 2, version, hash);
	put_feature(v, 3, version + 1, hash);
	let_wait(v);
	wait_list(v, "1-3");
	s = corpus_snapshot_take(v->w->svc);
	seg = s->segments[0]->seg;
	assert_int_equal(segment_features_version(seg), version);
	CHECK_OK(segment_feature(seg, hash, docs, COUNT_OF(docs), &n, &err), &err);
	assert_int_equal(n, 1);
	assert_true(segment_doc_find(seg, 2, &doc));
	assert_int_equal(docs[0], doc);
	for (int64_t id = 1; id <= 3; id++) {
		assert_true(segment_doc_find(seg, id, &doc));
		assert_int_equal(segment_flags(seg)[doc], id == 2 ? 0 : SEGMENT_DOC_NO_FEATURES);
	}
	corpus_snapshot_free(s);
}

/* ---- Restarts ---- */

static void segments_live_through_a_restart_and_garbage_does_not(void **state)
{
	static const char *const garbage[] = { "0000000099.seg", "0000000001.seg.tmp" };
	struct corpus_world *v = *state;
	char path[600], text[512], hex[65];
	FILE *f;

	upload_some(v, 1, 7);
	upload(v, 8, hex); /* an eighth: too few for a merge of its own */
	let_wait(v);
	wait_list(v, "1-8");
	CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, NULL, NULL), &(struct err){ 0 });
	service_close(v->w->svc);
	for (size_t i = 0; i < COUNT_OF(garbage); i++) {
		snprintf(path, sizeof path, "%s/index/%s", v->w->dir, garbage[i]);
		f = fopen(path, "w");
		assert_non_null(f);
		fclose(f);
	}
	world_open(v->w);
	list_text(v, text);
	assert_string_equal(text, "1-8");
	wait_files(v, 1);
	check_files(v, 1, 7);
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	assert_int_equal(s->segments[0]->dead_count, 1);
	corpus_snapshot_free(s);
	/* Its id is never another's. */
	upload(v, 8, NULL);
	let_wait(v);
	wait_list(v, "1-8 9-9");
}

static void the_only_segment(struct corpus_world *v, char path[600])
{
	struct corpus_snapshot *s = corpus_snapshot_take(v->w->svc);
	char name[CORPUS_PATH_BYTES];

	assert_int_equal(s->count, 1);
	corpus_path(name, s->segments[0]->row.id);
	corpus_snapshot_free(s);
	snprintf(path, 600, "%s/%s", v->w->dir, name);
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t c;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 4;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void no_log(enum log_level level, struct str line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static void lost_segments_are_built_again(void **state)
{
	struct corpus_world *v = *state;
	int64_t lost = metric_get(METRIC_index_lost_total);
	char path[600], text[512];

	upload_some(v, 1, 5);
	let_wait(v);
	wait_list(v, "1-5");
	log_set_sink(no_log, NULL);
	for (int how = 0; how < 3; how++) {
		the_only_segment(v, path);
		service_close(v->w->svc);
		if (how == 0)
			assert_int_equal(unlink(path), 0);
		else if (how == 1)
			assert_int_equal(truncate(path, 5000), 0);
		else
			flip(path, 20);
		world_open(v->w);
		assert_int_equal(metric_get(METRIC_index_lost_total), ++lost);
		list_text(v, text);
		if (strcmp(text, "") != 0)
			assert_string_equal(text, "1-5"); /* as quick as that */
		wait_list(v, "1-5");
		check_files(v, 1, 5);
		wait_files(v, 1);
	}
	log_set_sink(NULL, NULL);
}

/* ---- Damage ---- */

static void damaged_rows_are_noted_and_the_segment_built_anew(void **state)
{
	struct corpus_world *v = *state;
	int64_t damaged = metric_get(METRIC_index_damaged_pages_total), old_id;
	struct corpus_snapshot *s;
	char path[600];
	struct segment *seg;
	bool found = false;

	upload_some(v, 1, 5);
	let_wait(v);
	wait_list(v, "1-5");
	the_only_segment(v, path);
	log_set_sink(no_log, NULL);
	s = corpus_snapshot_take(v->w->svc);
	old_id = s->segments[0]->row.id;
	seg = s->segments[0]->seg;
	flip(path, (off_t)segment_block_at(seg, 0)->matrices[0].rows_at + 1);
	for (uint32_t row = 0; row < 512; row++)
		found = !segment_row(seg, &segment_block_at(seg, 0)->matrices[0], row) || found;
	assert_true(found);
	assert_int_equal(metric_get(METRIC_index_damaged_pages_total), damaged + 1);
	for (int ms = 0;; ms++) {
		struct corpus_snapshot *now = corpus_snapshot_take(v->w->svc);
		bool is_new = now->count == 1 && now->segments[0]->row.id != old_id;

		corpus_snapshot_free(now);
		if (is_new)
			break;
		assert_true(ms < DEADLINE_MS);
		poll(NULL, 0, 1);
	}
	log_set_sink(NULL, NULL);
	check_files(v, 1, 5);
	/* Who reads the old one reads on. */
	assert_int_equal(segment_docs(seg), 5);
	corpus_snapshot_free(s);
	wait_files(v, 1);
}

/* ---- Merges and removals ---- */

/* What happens at each merge. */
static _Atomic unsigned merges;
static _Atomic bool merge_is_refused;
static void (*while_merging)(void *arg); /* NULL: nothing */
static void *while_merging_arg;

int __real_segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			 const struct segment_merge *options, uint64_t *ret_bytes, struct err *err);
int __wrap_segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			 const struct segment_merge *options, uint64_t *ret_bytes, struct err *err);

int __wrap_segment_merge(struct io *io, struct segment *const *segs, size_t n, const char *path,
			 const struct segment_merge *options, uint64_t *ret_bytes, struct err *err)
{
	merges++;
	if (merge_is_refused)
		return err_set(err, ERR_CORRUPT, "the test's merge");
	if (while_merging)
		while_merging(while_merging_arg);
	return __real_segment_merge(io, segs, n, path, options, ret_bytes, err);
}

/* Three that are going to be merged. */
static void build_three(struct corpus_world *v)
{
	static const char *const lists[] = { "1-1", "1-1 2-2" };

	for (unsigned i = 0; i < COUNT_OF(lists); i++) {
		upload(v, i + 1, NULL);
		let_wait(v);
		wait_list(v, lists[i]);
	}
	upload(v, 3, NULL);
	let_wait(v);
}

/* Its inputs are whole, so it would fail again: not before some time has passed. */
static void a_merge_that_is_refused_waits(void **state)
{
	struct corpus_world *v = *state;
	struct err err;

	log_set_sink(no_log, NULL);
	merges = 0;
	merge_is_refused = true;
	build_three(v);
	wait_list(v, "1-1 2-2 3-3");
	for (int ms = 0; corpus_failure(v->w->svc->corpus, &err) == 0; ms++) {
		assert_true(ms < 500);
		poll(NULL, 0, 1);
	}
	assert_string_equal(err.msg, "the test's merge");
	for (int i = 0; i < 20; i++) {
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	assert_int_equal(merges, 1);
	merge_is_refused = false;
	wait_list(v, "1-3");
	log_set_sink(NULL, NULL);
	check_files(v, 1, 3);
}

static void neighbours_become_one_without_what_was_removed(void **state)
{
	struct corpus_world *v = *state;
	struct corpus_snapshot *before, *after;
	struct err err;
	char hex[65];
	uint32_t doc;

	upload_some(v, 1, 7);
	upload(v, 8, hex);
	let_wait(v);
	wait_list(v, "1-8");
	before = corpus_snapshot_take(v->w->svc);
	CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, NULL, &err), &err);
	/* Seen at once, also by those who look already. */
	assert_true(segment_doc_find(before->segments[0]->seg, 8, &doc));
	assert_int_equal(atomic_load(&before->segments[0]->dead[0]), UINT64_C(1) << doc);
	upload(v, 9, NULL);
	let_wait(v);
	wait_list(v, "1-8 9-9");
	upload(v, 10, NULL);
	let_wait(v);
	wait_list(v, "1-10");
	after = corpus_snapshot_take(v->w->svc);
	assert_int_equal(segment_docs(after->segments[0]->seg), 9);
	assert_int_equal(after->segments[0]->row.level, 1);
	assert_int_equal(after->segments[0]->dead_count, 0);
	corpus_snapshot_free(after);
	corpus_snapshot_free(before);
	check_files(v, 1, 7);
	check_files(v, 9, 10);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM segment_deleted"), 0);
	assert_int_equal(world_i64(v->w, "SELECT count(*) FROM segment"), 1);
	wait_files(v, 1);
	/* All of them removed: nothing is left to be indexed. */
	for (unsigned i = 1; i <= 10; i++) {
		struct sample s = sample_of(i);
		uint8_t sha256[SHA256_BYTES];

		sha256_of(s.p, s.n, sha256);
		free(s.p);
		hex_encode(sha256, sizeof sha256, hex);
		if (i != 8)
			CHECK_OK(file_remove(v->w->svc, str_of(hex), NULL, NULL, &err), &err);
	}
	wait_list(v, "");
	wait_files(v, 0);
}

static const struct merge_row {
	const char *name;
	const char *sizes; /* a letter each: 'a' is the smallest class, upper case: stale */
	const char *dead;  /* share of its files in tenths; "": none */
	size_t first, n;
} merge_rows[] = {
	{ "none", "", "", 0, 0 },
	{ "too few", "aa", "", 0, 0 },
	{ "as many as the fan-in", "aaa", "", 0, 3 },
	{ "the first of more", "aaaaa", "", 0, 3 },
	{ "behind larger ones", "bbaaa", "", 2, 3 },
	{ "larger ones", "bbba", "", 0, 3 },
	{ "small ones between are taken along", "babb", "", 0, 4 },
	{ "small ones behind are not", "bbba", "", 0, 3 },
	{ "small ones in front are not", "aabbb", "", 2, 3 },
	{ "a larger one parts them", "aabaa", "", 0, 0 },
	{ "one that is built anew parts them", "aaAaa", "", 0, 0 },
	{ "small ones first", "cccaaa", "", 3, 3 },
	{ "the largest allowed are full", "eee", "", 0, 0 },
	{ "two fill half of it", "ddd", "", 0, 2 },
	{ "a quarter is removed", "ca", "30", 0, 1 },
	{ "less than that", "ca", "20", 0, 0 },
	{ "many removed, but it is built anew", "Ca", "90", 0, 0 },
};

static void which_neighbours_are_chosen(void **state)
{
	static const struct corpus_merge_limits limits = { FAN, 1000, 200 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(merge_rows); i++) {
		const struct merge_row *r = &merge_rows[i];
		struct segment_row rows[16] = { 0 };
		uint32_t dead[16] = { 0 };
		size_t n = strlen(r->sizes), first = 0, count;

		for (size_t k = 0; k < n; k++) {
			unsigned class = (unsigned)((r->sizes[k] | 32) - 'a');

			rows[k].sample_bytes = 1 << 20;
			for (unsigned times = 0; times < class; times++)
				rows[k].sample_bytes *= FAN;
			rows[k].is_stale = r->sizes[k] < 'a';
			rows[k].bytes = class < 3 ? 1 : class == 3 ? 70 : 150;
			rows[k].docs = 10;
			dead[k] = k < strlen(r->dead) ? (uint32_t)(r->dead[k] - '0') : 0;
		}
		corpus_merge_choose(rows, dead, n, &limits, &first, &count);
		CHECK_ROW(r->name, count == r->n);
		CHECK_ROW(r->name, count == 0 || first == r->first);
	}
}

/* What `weir reindex` does before it waits. */
static int mark_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	uint64_t n;

	(void)req;
	return segment_rows_set_stale(conn, 0, &n, err);
}

static void mark_all(void *arg)
{
	struct corpus_world *v = arg;
	struct write_req req = { .apply = mark_apply, .lane = LANE_API };
	struct err err;

	CHECK_OK(writer_call(service_writer(v->w->svc), &req, &err), &err);
	while_merging = NULL;
}

/* Its result was made of what is to be built anew. */
static void a_mark_set_during_a_merge_is_kept(void **state)
{
	struct corpus_world *v = *state;

	while_merging_arg = v;
	while_merging = mark_all;
	build_three(v);
	for (int ms = 0; world_i64(v->w, "SELECT max(id) FROM segment") != 5; ms++) {
		if (ms == DEADLINE_MS / 4)
			fail_msg("segment 4 was merged, and not built anew");
		clock_fake_advance(&v->w->clock, 10 * 1000000);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	wait_list(v, "1-3");
	assert_int_equal(world_i64(v->w, "SELECT max(stale) FROM segment"), 0);
	check_files(v, 1, 3);
}

/* ---- Faults ---- */

/* The n-th allocation of a size from outside fails, once. */
static _Atomic uint64_t allocations, allocation_fails_at;

int __real_mem_try_alloc(void **ret, size_t bytes, struct err *err);
int __real_mem_try_array(void **ret, size_t n, size_t size, struct err *err);
int __wrap_mem_try_alloc(void **ret, size_t bytes, struct err *err);
int __wrap_mem_try_array(void **ret, size_t n, size_t size, struct err *err);

int __wrap_mem_try_alloc(void **ret, size_t bytes, struct err *err)
{
	if (++allocations == allocation_fails_at)
		return err_set(err, ERR_NO_MEMORY, "the test's memory");
	return __real_mem_try_alloc(ret, bytes, err);
}

int __wrap_mem_try_array(void **ret, size_t n, size_t size, struct err *err)
{
	if (++allocations == allocation_fails_at)
		return err_set(err, ERR_NO_MEMORY, "the test's memory");
	return __real_mem_try_array(ret, n, size, err);
}

/* One file after the other is indexed, and merged with others, whatever fails meanwhile. */
static void index_another(struct corpus_world *v, unsigned number, _Atomic uint64_t *calls,
			  _Atomic uint64_t *fails_at, uint64_t n)
{
	static const char docs[] = "SELECT coalesce(sum(docs), 0) FROM segment";
	int64_t before = world_i64(v->w, docs);

	upload(v, number, NULL);
	let_wait(v);
	*calls = 0;
	*fails_at = n;
	for (int ms = 0; world_i64(v->w, docs) != before + 1; ms++) {
		assert_true(ms < DEADLINE_MS);
		clock_fake_advance(&v->w->clock, 10 * 1000000);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	*fails_at = 0; /* the next upload is not what fails */
}

static void each_fails_once(struct corpus_world *v, _Atomic uint64_t *calls,
			    _Atomic uint64_t *fails_at, uint64_t least)
{
	static const int kinds[] = { EIO, ENOSPC };
	unsigned number = 0;
	uint64_t most = 0;

	log_set_sink(no_log, NULL);
	for (uint64_t n = 1; n <= most + 1; n++) {
		unsigned first = number + 1;

		v->disk.sys = kinds[n % 2];
		for (int i = 0; i < FAN; i++) {
			index_another(v, ++number, calls, fails_at, n);
			if (*calls > most)
				most = *calls;
		}
		check_files(v, first, number);
	}
	assert_in_range(most, least, 200);
	reopen(v);
	log_set_sink(NULL, NULL);
	check_files(v, 1, number);
	wait_files(v, (unsigned)world_i64(v->w, "SELECT count(*) FROM segment"));
}

static void every_write_fails_once(void **state)
{
	struct corpus_world *v = *state;

	each_fails_once(v, &v->disk.calls, &v->disk.fails_at, 4);
}

static void every_allocation_fails_once(void **state)
{
	each_fails_once(*state, &allocations, &allocation_fails_at, 2);
}

int main(int argc, char **argv)
{
	WORLD_SCAN_CHILD(argc, argv);
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(without_segments_nobody_covers_a_range),
		TEST(parts_are_segments_and_holes),
		TEST(files_wait_for_their_analysis_and_for_each_other),
		TEST(features_of_the_present_version_are_indexed),
		TEST(nothing_is_written_below_the_disk_reserve),
		TEST(segments_live_through_a_restart_and_garbage_does_not),
		TEST(lost_segments_are_built_again),
		TEST(damaged_rows_are_noted_and_the_segment_built_anew),
		TEST(neighbours_become_one_without_what_was_removed),
		TEST(a_merge_that_is_refused_waits),
		TEST(a_mark_set_during_a_merge_is_kept),
		TEST(every_write_fails_once),
		TEST(every_allocation_fails_once),
#undef TEST
		cmocka_unit_test(which_neighbours_are_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
