#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "index/query.h"
#include "index/segment_writer.h"
#include "plan_make.h"

/*
 * Any bytes as a plan: refused, or evaluated over a small segment with documents of all
 * kinds. Whatever it asks for, it ends, and what it answers are documents of the segment
 * that pass the filter. The first byte says what the filter is.
 */
enum {
	FILTER_DETAILS = 1,
	FILTER_GOODWARE = 2,
	FILTER_SMALL = 4,
	FILTER_RANGE = 8,
	DOCS = 40,
	LARGE_BYTES = SEGMENT_CHUNK_FROM + 5000,
	ASKED_MAX = 200 /* then it is stopped: some MB each */
};

static struct segment *seg;
static struct io *io;
static char dir[256];

static void clean_up(void)
{
	segment_unref(seg);
	io_posix_free(io);
	(void)rmdir(dir);
}

static void doc_add(struct segment_writer *w, struct signer *signer, int64_t id, size_t n)
{
	struct segment_doc doc = { .file_id = id, .size = n, .first_seen_s = id };
	AUTO(mem_drop) uint8_t *p = mem_must_zalloc(n + 1);
	uint64_t features[2] = { 77, (uint64_t)id << 30 };
	struct signature *sig = NULL;
	struct err err;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)("evil text MZ\0w\0i\0d\0e"[(i + (size_t)id) % 20]);
	memcpy(doc.head, p, n < sizeof doc.head ? n : sizeof doc.head);
	doc.corpus = id % 3 == 0;
	doc.flags = id % 5 == 0 ? SEGMENT_DOC_NO_FEATURES : 0;
	if (id % 7 == 0)
		doc.flags |= SEGMENT_DOC_ALWAYS;
	else
		REQUIRE(signer_sign(signer, p, n, &sig, &err) == 0);
	REQUIRE(segment_writer_add(w, &doc, sig, features, 2, &err) == 0);
}

static void set_up(void)
{
	struct segment_writer_options o = { 1 << 30, 1, SIGNATURE_FILL_DEFAULT };
	struct segment_writer *w = segment_writer_new(&o);
	struct signer *signer = signer_new(SIGNATURE_FILL_DEFAULT);
	const char *tmp = getenv("TMPDIR");
	struct err err;
	uint64_t bytes;

	snprintf(dir, sizeof dir, "%s/weir-fuzz-XXXXXX", tmp ? tmp : "/tmp");
	REQUIRE(mkdtemp(dir));
	REQUIRE(io_posix_new(&io, dir, &err) == 0);
	for (int64_t id = 1; id <= DOCS; id++)
		doc_add(w, signer, id, id == 4 ? LARGE_BYTES : (size_t)(id * id));
	REQUIRE(segment_writer_write(w, io, "a.seg", 1, DOCS, &bytes, &err) == 0);
	REQUIRE(segment_open(&seg, io, "a.seg", &err) == 0);
	REQUIRE(io->unlink(io, "a.seg", &err) == 0);
	segment_writer_free(w);
	signer_free(signer);
	(void)atexit(clean_up);
}

static bool goes_on(void *arg)
{
	return ++*(unsigned *)arg < ASKED_MAX;
}

static void check_answer(const struct query_answer *a, const struct query_filter *f)
{
	for (uint32_t i = 0; i < a->count; i++) {
		struct segment_doc doc;

		REQUIRE(a->candidates[i].doc < segment_docs(seg) && a->candidates[i].groups);
		REQUIRE(i == 0 || a->candidates[i - 1].doc < a->candidates[i].doc);
		segment_doc_get(seg, a->candidates[i].doc, &doc);
		REQUIRE(doc.corpus == f->corpus && doc.file_id >= f->first_id &&
			doc.file_id <= f->last_id && doc.size <= f->size_max);
	}
}

static void check_names(const struct plan *plan)
{
	uint32_t strings = 0;

	for (uint32_t i = 0; i < plan_rules(plan); i++) {
		struct plan_rule rule;
		uint32_t n;
		const uint32_t *of = plan_rule_strings(plan, i, &n);

		plan_rule_get(plan, i, &rule);
		REQUIRE(rule.name.n > 0 && plan_note_text(rule.note)[0]);
		for (uint32_t k = 0; k < n; k++) {
			struct plan_string string;

			plan_string_get(plan, of[k], &string);
			REQUIRE(string.rule == i && string.name.n > 0);
		}
		strings += n;
	}
	REQUIRE(strings == plan_strings(plan));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t groups[PLAN_RULES_MAX];
	unsigned asked = 0;
	struct query_filter f = { .last_id = INT64_MAX,
				  .end_s = INT64_MAX,
				  .size_max = UINT64_MAX,
				  .groups = groups,
				  .features_version = 1,
				  .goes_on = goes_on,
				  .arg = &asked };
	struct query_answer answer;
	struct plan *plan;
	struct err err;
	int rc;

	if (n < 1)
		return 0;
	if (!seg)
		set_up();
	for (unsigned i = 0; i < PLAN_RULES_MAX; i++)
		groups[i] = (uint8_t)(i % QUERY_GROUPS);
	f.wants_details = data[0] & FILTER_DETAILS;
	f.corpus = data[0] & FILTER_GOODWARE ? SEGMENT_GOODWARE : SEGMENT_MAIN;
	f.size_max = data[0] & FILTER_SMALL ? 500 : UINT64_MAX;
	f.first_id = data[0] & FILTER_RANGE ? 10 : 0;
	f.last_id = data[0] & FILTER_RANGE ? 30 : INT64_MAX;
	rc = plan_new(&plan, data + 1, n - 1, &err);
	if (rc != 0) {
		REQUIRE((rc == -ERR_CORRUPT || rc == -ERR_TOO_LARGE) && strstr(err.msg, "byte"));
		return 0;
	}
	check_names(plan);
	rc = query_run(plan, seg, &f, &answer, &err);
	REQUIRE(rc == 0 || rc == -ERR_CLOSED);
	if (rc == 0) {
		check_answer(&answer, &f);
		query_answer_release(&answer);
	}
	plan_drop(&plan);
	return 0;
}

/* Strings of each kind, and rules with every instruction. */
void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static const uint8_t mz[2] = { 'M', 'Z' }, all[2] = { 0xff, 0xff };

	for (unsigned how = 0; how < 16; how += 3) {
		struct buf out = BUF_INIT(1 << 20);
		struct plan_make m;

		plan_make_init(&m);
		plan_make_run(&m, "evil text", 9, true);
		plan_make_run(&m, "w\0i\0d\0e", 7, false);
		plan_make_run(&m, "text", 4, false);
		plan_op_run(&m, 0);
		plan_op_run(&m, 1);
		plan_op_or(&m, 2);
		plan_op_run(&m, 2);
		plan_op_and(&m, 2);
		plan_make_string(&m, 0, "$a", true);
		plan_op_run(&m, 0);
		plan_op_run(&m, 1);
		plan_op_run(&m, 2);
		plan_op_atleast(&m, 2, 3);
		plan_make_string(&m, 0, "$b", false);
		plan_op_string(&m, 0);
		plan_op_string(&m, 1);
		plan_op_bytes(&m, how, mz, all, 2);
		plan_op_size(&m, 10, 800);
		plan_op_atleast(&m, 2, 4);
		plan_make_rule(&m, "first", PLAN_RULE_PRIVATE);
		plan_op_rule(&m, 0);
		plan_op_feature(&m, 77);
		plan_op_and(&m, 2);
		plan_op_true(&m);
		plan_op_string(&m, 1);
		plan_op_and(&m, 2);
		plan_op_or(&m, 2);
		plan_make_rule(&m, "second", PLAN_RULE_GLOBAL);
		buf_add_c(&out, (char)how);
		plan_make_end(&m, &out);
		plan_make_release(&m);
		run((const uint8_t *)out.p, out.n);
		buf_release(&out);
	}
}
