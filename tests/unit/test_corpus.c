/*
 * The corpus: files become segments, segments one, removed files are seen as such; and
 * what is lost, damaged or interrupted is made again.
 */
#include "corpus_world.h"

#include "base/hash.h"
#include "base/le.h"

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

/* One row that is damaged does not keep the others out of the index. */
static void features_that_cannot_be_read_are_not_known(void **state)
{
	const uint32_t version = ((struct corpus_world *)*state)->w->options.index.features_version;
	struct corpus_world *v = *state;
	struct corpus_snapshot *s;
	uint32_t doc;

	upload_some(v, 1, 3);
	for (int64_t id = 1; id <= 3; id++)
		put_feature(v, id, version, 77);
	world_exec(v->w,
		   "UPDATE file_features SET features = zeroblob(8 * 65536) WHERE file_id = 2",
		   NULL);
	log_set_sink(no_log, NULL);
	let_wait(v);
	wait_list(v, "1-3");
	log_set_sink(NULL, NULL);
	s = corpus_snapshot_take(v->w->svc);
	for (int64_t id = 1; id <= 3; id++) {
		assert_true(segment_doc_find(s->segments[0]->seg, id, &doc));
		assert_int_equal(segment_flags(s->segments[0]->seg)[doc],
				 id == 2 ? SEGMENT_DOC_NO_FEATURES : 0);
	}
	corpus_snapshot_free(s);
}

/* Nor does it keep what is in segments from being built anew. */
static void a_damaged_row_stops_building_alone(void **state)
{
	struct corpus_world *v = *state;
	struct corpus_snapshot *s;
	struct err err;

	upload_some(v, 1, 3);
	let_wait(v);
	wait_list(v, "1-3");
	log_set_sink(no_log, NULL);
	upload(v, 4, NULL);
	world_exec(v->w, "PRAGMA ignore_check_constraints = ON", NULL);
	world_exec(v->w, "UPDATE file SET sha256 = x'00' WHERE id = 4", NULL);
	world_exec(v->w, "PRAGMA ignore_check_constraints = OFF", NULL);
	for (int ms = 0; corpus_failure(v->w->svc->corpus, &err) == 0; ms++) {
		assert_true(ms < DEADLINE_MS);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	assert_string_equal(err.msg, "the SHA-256 of file 4 has 1 bytes");
	s = corpus_snapshot_take(v->w->svc);
	s->segments[0]->is_damaged = true;
	corpus_snapshot_free(s);
	for (int ms = 0; world_i64(v->w, "SELECT max(id) FROM segment") != 2; ms++) {
		assert_true(ms < DEADLINE_MS / 4);
		clock_fake_advance(&v->w->clock, 10 * 1000000);
		corpus_wake(v->w->svc);
		poll(NULL, 0, 1);
	}
	assert_int_equal(corpus_failure(v->w->svc->corpus, &err), -ERR_CORRUPT);
	log_set_sink(NULL, NULL);
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

/* As an older weir wrote it: the version is what it is known by. */
static void make_old(const char *path)
{
	int fd = open(path, O_RDWR);
	uint8_t header[256];

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, header, sizeof header, 0), sizeof header);
	put_le16(header + 8, 1);
	put_le32(header + 252, crc32c(0, header, 252));
	assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
	close(fd);
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
	for (int how = 0; how < 4; how++) {
		the_only_segment(v, path);
		service_close(v->w->svc);
		if (how == 0)
			assert_int_equal(unlink(path), 0);
		else if (how == 1)
			assert_int_equal(truncate(path, 5000), 0);
		else if (how == 2)
			make_old(path);
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

/* What the disk does not give is built again; what may not be read is no reason to. */
static void a_segment_that_does_not_open(void **state)
{
	static const struct {
		const char *name;
		int sys;
		bool is_lost;
	} rows[] = { { "a damaged disk", EIO, true },
		     { "rights", EACCES, false },
		     { "rights of a mount", EPERM, false },
		     { "a link that leads in circles", ELOOP, false } };
	struct corpus_world *v = *state;
	int64_t lost = metric_get(METRIC_index_lost_total);
	char path[600], name[64];
	struct err err;

	upload_some(v, 1, 5);
	let_wait(v);
	wait_list(v, "1-5");
	log_set_sink(no_log, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		the_only_segment(v, path);
		snprintf(name, sizeof name, "%s", strrchr(path, '/'));
		service_close(v->w->svc);
		v->disk.refused = name;
		v->disk.sys = rows[i].sys;
		if (service_open(&v->w->svc, &v->w->options, &err) != 0) {
			CHECK_ROW(rows[i].name, !rows[i].is_lost);
			CHECK_ROW(rows[i].name, strstr(err.msg, name) != NULL);
			CHECK_ROW(rows[i].name, strstr(err.msg, strerror(rows[i].sys)) != NULL);
			CHECK_ROW(rows[i].name, access(path, F_OK) == 0);
			v->disk.refused = NULL;
			world_open(v->w);
			CHECK_ROW(rows[i].name, list_docs(v) == 5); /* as it was */
		} else {
			CHECK_ROW(rows[i].name, rows[i].is_lost);
			CHECK_ROW(rows[i].name, ++lost == metric_get(METRIC_index_lost_total));
			v->disk.refused = NULL;
		}
		wait_list(v, "1-5");
		check_files(v, 1, 5);
		wait_files(v, 1);
	}
	log_set_sink(NULL, NULL);
	assert_int_equal(metric_get(METRIC_index_lost_total), lost);
}

static void segments_that_overlap_are_named_and_built_again(void **state)
{
	struct corpus_world *v = *state;
	struct err err;

	v->w->options.index.docs_max = 4;
	reopen(v);
	upload_some(v, 1, 9);
	let_wait(v);
	wait_list(v, "1-4 5-8 9-9");
	world_exec(v->w, "UPDATE segment SET last_id = 6 WHERE first_id = 1", NULL);
	service_close(v->w->svc);
	assert_int_equal(service_open(&v->w->svc, &v->w->options, &err), -ERR_CORRUPT);
	assert_string_equal(err.msg,
			    "segments 1 (files 1 to 6) and 2 (files 5 to 8) of the corpus index "
			    "overlap: run 'weir reindex', and they are built again");
	log_set_sink(no_log, NULL);
	v->w->options.index.repairs = true;
	world_open(v->w);
	wait_list(v, "1-4 5-8 9-9");
	check_files(v, 1, 9);
	wait_files(v, 3);
	log_set_sink(NULL, NULL);
}

/*
 * A bit of a sample that is wrong while it is indexed, and put right later (of a backup, or
 * by a disk that tries again), hides nothing.
 */
static void a_damaged_sample_is_always_a_candidate(void **state)
{
	struct corpus_world *v = *state;
	struct corpus_snapshot *s;
	struct segment_doc doc;
	char path[600];
	int64_t at;

	upload_some(v, 1, 5);
	service_drain(v->w->svc);
	at = world_i64(v->w, "SELECT pack_offset FROM file WHERE id = 3");
	snprintf(path, sizeof path, "%s/packs/%010lld.pack", v->w->dir,
		 (long long)world_i64(v->w, "SELECT pack FROM file WHERE id = 3"));
	log_set_sink(no_log, NULL);
	flip(path, (off_t)at + 100);
	let_wait(v);
	wait_list(v, "1-5");
	flip(path, (off_t)at + 100);
	log_set_sink(NULL, NULL);
	s = corpus_snapshot_take(v->w->svc);
	for (uint32_t d = 0; d < 5; d++) {
		segment_doc_get(s->segments[0]->seg, d, &doc);
		assert_int_equal(doc.flags, SEGMENT_DOC_NO_FEATURES |
						    (doc.file_id == 3 ? SEGMENT_DOC_ALWAYS : 0));
	}
	corpus_snapshot_free(s);
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

static _Atomic unsigned said_features;

static void note_features(enum log_level level, struct str line, void *arg)
{
	(void)level;
	(void)arg;
	said_features += memmem(line.p, line.n, "\"section\":\"features\"", 20) != NULL;
}

static void damaged_features_are_called_so(void **state)
{
	const uint32_t version = ((struct corpus_world *)*state)->w->options.index.features_version;
	struct corpus_world *v = *state;
	struct corpus_snapshot *s;
	uint8_t header[256];
	char path[600];
	uint32_t docs[4], n;
	struct err err;
	int fd;

	upload_some(v, 1, 3);
	put_feature(v, 2, version, UINT64_MAX / 3);
	let_wait(v);
	wait_list(v, "1-3");
	the_only_segment(v, path);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, header, sizeof header), sizeof header);
	close(fd);
	flip(path, (off_t)header[96 + 16 * 5 + 1] << 8 | (off_t)header[96 + 16 * 5 + 2] << 16);
	said_features = 0;
	log_set_sink(note_features, NULL);
	s = corpus_snapshot_take(v->w->svc);
	assert_int_equal(segment_feature(s->segments[0]->seg, UINT64_MAX / 3, docs, COUNT_OF(docs),
					 &n, &err),
			 -ERR_CORRUPT);
	log_set_sink(NULL, NULL);
	corpus_snapshot_free(s);
	assert_int_equal(said_features, 1);
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
	for (int ms = 0; world_i64(v->w, docs) != before + 1 || list_docs(v) != before + 1; ms++) {
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
		TEST(features_that_cannot_be_read_are_not_known),
		TEST(a_damaged_row_stops_building_alone),
		TEST(nothing_is_written_below_the_disk_reserve),
		TEST(segments_live_through_a_restart_and_garbage_does_not),
		TEST(lost_segments_are_built_again),
		TEST(a_segment_that_does_not_open),
		TEST(segments_that_overlap_are_named_and_built_again),
		TEST(a_damaged_sample_is_always_a_candidate),
		TEST(damaged_rows_are_noted_and_the_segment_built_anew),
		TEST(damaged_features_are_called_so),
		TEST(every_write_fails_once),
		TEST(every_allocation_fails_once),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
