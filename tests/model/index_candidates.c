/*
 * Rules against the corpus index without a server: what test_index_model.py judges.
 *
 *   index_candidates FILES RULES FOLDER
 *
 * FILES and RULES hold a path a line. The files are signed and written as segments into
 * FOLDER, some of which are merged; each source of rules is planned and looked for in all of them.
 * Prints 'source<TAB>rule<TAB>file' for each candidate, all of them numbers from 0, rules as they
 * stand in the source.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "engine.h"
#include "index/merge.h"
#include "index/plan.h"
#include "index/query.h"
#include "index/segment_writer.h"

enum {
	SEGMENTS = 6,
	MERGED = 3, /* the first of them */
	PATHS_MAX = 100000,
	FILL_LOW = 250 /* of every other segment */
};

struct paths {
	char *list[PATHS_MAX];
	uint32_t n;
};

struct bytes {
	uint8_t *p;
	size_t n;
};

static struct io *io;
static struct segment *segments[SEGMENTS];
static uint32_t segment_count;

_Noreturn static void die(const char *what, const char *why)
{
	fprintf(stderr, "index_candidates: %s: %s\n", what, why);
	exit(1);
}

static void must(int rc, const char *what, const struct err *err)
{
	if (rc)
		die(what, err->msg);
}

static struct bytes read_whole(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct bytes b = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		die(path, strerror(errno));
	b.p = mem_must_zalloc((size_t)st.st_size + 1);
	b.n = (size_t)st.st_size;
	for (size_t at = 0; at < b.n;) {
		ssize_t got = read(fd, b.p + at, b.n - at);

		if (got <= 0)
			die(path, strerror(errno));
		at += (size_t)got;
	}
	close(fd);
	return b;
}

static void paths_read(struct paths *paths, const char *path)
{
	struct bytes text = read_whole(path);
	char *at = (char *)text.p, *end;

	for (; (end = strchr(at, '\n')); at = end + 1) {
		*end = '\0';
		if (paths->n == PATHS_MAX)
			die(path, "too many lines");
		paths->list[paths->n++] = at;
	}
}

/* ---- Segments; the id of a file is its number plus one ---- */

static void add_file(struct segment_writer *w, struct signer *signer, const char *path, int64_t id)
{
	struct bytes b = read_whole(path);
	struct segment_doc doc = {
		.file_id = id, .size = b.n, .corpus = SEGMENT_MAIN, .flags = SEGMENT_DOC_NO_FEATURES
	};
	struct signature *sig;
	struct err err;

	sha256_of(b.p, b.n, doc.sha256);
	memcpy(doc.head, b.p, b.n < sizeof doc.head ? b.n : sizeof doc.head);
	must(signer_sign(signer, b.p, b.n, &sig, &err), path, &err);
	must(segment_writer_add(w, &doc, sig, NULL, 0, &err), path, &err);
	free(b.p);
}

static void write_segment(const struct paths *files, uint32_t first, uint32_t last, uint32_t number)
{
	unsigned fill = number % 2 ? FILL_LOW : SIGNATURE_FILL_DEFAULT;
	const struct segment_writer_options options = { .memory_bytes = 1ull << 30,
							.fill_max = fill };
	struct segment_writer *w = segment_writer_new(&options);
	struct signer *signer = signer_new(fill);
	char name[32];
	uint64_t bytes;
	struct err err;

	for (uint32_t i = first; i < last; i++)
		add_file(w, signer, files->list[i], (int64_t)i + 1);
	snprintf(name, sizeof name, "%u.seg", number);
	must(segment_writer_write(w, io, name, (int64_t)first + 1, (int64_t)last, &bytes, &err),
	     name, &err);
	must(segment_open(&segments[number], io, name, &err), name, &err);
	signer_free(signer);
	segment_writer_free(w);
}

static void build(const struct paths *files)
{
	struct segment *merged;
	uint64_t bytes;
	struct err err;

	for (uint32_t i = 0; i < SEGMENTS; i++)
		write_segment(files, files->n * i / SEGMENTS, files->n * (i + 1) / SEGMENTS, i);
	must(segment_merge(io, segments, MERGED, "merged.seg", NULL, &bytes, &err), "merge", &err);
	must(segment_open(&merged, io, "merged.seg", &err), "merged", &err);
	for (uint32_t i = 0; i < MERGED; i++)
		segment_unref(segments[i]);
	segments[0] = merged;
	memmove(segments + 1, segments + MERGED, (SEGMENTS - MERGED) * sizeof *segments);
	segment_count = SEGMENTS - MERGED + 1;
}

/* ---- Rules ---- */

static void tell(uint32_t source, struct segment *seg, const struct query_answer *answer)
{
	for (uint32_t i = 0; i < answer->count; i++) {
		uint32_t doc = answer->candidates[i].doc;
		uint64_t groups = answer->candidates[i].groups;

		for (; groups; groups &= groups - 1)
			printf("%u\t%d\t%lld\n", source, __builtin_ctzll(groups),
			       (long long)segment_file_ids(seg)[doc] - 1);
	}
}

static void ask(uint32_t source, const char *path)
{
	struct bytes text = read_whole(path);
	struct engine_buffer program;
	struct query_filter filter = { .corpus = SEGMENT_MAIN,
				       .last_id = INT64_MAX,
				       .end_s = INT64_MAX,
				       .size_max = UINT64_MAX };
	uint8_t groups[QUERY_GROUPS];
	struct plan *plan;
	struct err err;

	if (engine_plan((const char *)text.p, text.n, &program) != ENGINE_OK)
		die(path, engine_last_error());
	must(plan_new(&plan, program.data, program.len, &err), path, &err);
	if (plan_rules(plan) > QUERY_GROUPS)
		die(path, "more rules than groups");
	for (uint8_t i = 0; i < plan_rules(plan); i++)
		groups[i] = i;
	filter.groups = groups;
	for (uint32_t i = 0; i < segment_count; i++) {
		struct query_answer answer;

		must(query_run(plan, segments[i], &filter, &answer, &err), path, &err);
		tell(source, segments[i], &answer);
		query_answer_release(&answer);
	}
	plan_unref(plan);
	engine_buffer_free(&program);
	free(text.p);
}

int main(int argc, char **argv)
{
	static struct paths files, rules;
	struct err err;

	if (argc != 4) {
		fprintf(stderr, "index_candidates FILES RULES FOLDER\n");
		return 2;
	}
	paths_read(&files, argv[1]);
	paths_read(&rules, argv[2]);
	must(io_posix_new(&io, argv[3], &err), argv[3], &err);
	build(&files);
	for (uint32_t i = 0; i < rules.n; i++)
		ask(i, rules.list[i]);
	for (uint32_t i = 0; i < segment_count; i++)
		segment_unref(segments[i]);
	io_posix_free(io);
	return 0;
}
