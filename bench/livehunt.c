/*
 * Livehunt against a plain program of the same engine library.
 *
 *   bench_livehunt --rules FOLDER --corpus FOLDER --data FOLDER [--passes N] [--threads N]
 *                  [--hunts-only yes]
 *   bench_livehunt --rules FOLDER --corpus FOLDER      the plain side's cost alone
 *
 * Both sides run in turn in this one process, on as many cores. The plain side
 * loads the same rules, one namespace a ruleset, and scans loose files with one
 * scanner a thread. weir's side is timed
 *   - from claim to committed result: files stored and identified before, from
 *     the moment the live set is there (analyses are claimed by then) to the last
 *     commit, every sighting told anew;
 *   - over the whole path: from the first upload to the last commit, against scan,
 *     three hashes and libmagic run plainly.
 * Each pass gives a ratio; the line at the end has the medians.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "livehunt/livehunt.h"
#include "scan/scan.h"

/* Only the plain side, in processor time: for fitting rules and files to each other. */
static void run_plain(const struct bench *b)
{
	struct engine_rules *rules = plain_compile(b);
	double before = cpu_s();
	uint64_t hits;

	for (unsigned i = 0; i < b->passes; i++)
		plain_pass(b, rules, false, &hits);
	printf("plain rules=%u hits=%llu cpu_us_per_file=%.0f\n", engine_rules_count(rules),
	       (unsigned long long)hits,
	       (cpu_s() - before) * 1e6 / (double)b->corpus.n / b->passes);
	engine_rules_free(rules);
}

struct series {
	double ratio[PASSES_MAX];
	double beyond_us[PASSES_MAX];
	double plain_rate[PASSES_MAX];
};

static void series_add(struct series *s, unsigned i, const struct bench *b, const char *what,
		       int64_t plain_us, uint64_t hits, const struct weir_pass *w)
{
	double files = (double)b->corpus.n;

	s->ratio[i] = (double)plain_us / (double)w->us;
	s->plain_rate[i] = files * 1e6 / (double)plain_us / b->threads;
	s->beyond_us[i] = (double)(w->us - plain_us) * b->threads / files;
	fprintf(stderr,
		"%s %u: plain %.0f files/s/core (%llu hits), weir %.0f (%lld told, %lld commits, "
		"%.0f us a file in scanners), ratio %.3f, beyond %.0f us\n",
		what, i + 1, s->plain_rate[i], (unsigned long long)hits,
		files * 1e6 / (double)w->us / b->threads, (long long)w->sightings,
		(long long)w->commits, (double)w->scan_us / files, s->ratio[i], s->beyond_us[i]);
	if (w->sightings != (int64_t)hits)
		die("weir and the plain program do not agree on what matches", NULL);
}

static void run_hunts(const struct bench *b, struct engine_rules *rules, struct series *s,
		      double *ret_start_s)
{
	for (unsigned i = 0; i < b->passes; i++) {
		uint64_t hits;
		int64_t plain_us = plain_pass(b, rules, false, &hits);
		struct weir_pass w;

		weir_queue(b);
		w = weir_hunt(b);
		*ret_start_s = (double)w.start_us / 1e6;
		series_add(s, i, b, "hunt", plain_us, hits, &w);
	}
}

static void run_paths(const struct bench *b, struct engine_rules *rules, struct series *s)
{
	for (unsigned i = 0; i < b->passes; i++) {
		uint64_t hits;
		int64_t plain_us = plain_pass(b, rules, true, &hits);
		struct weir_pass w;

		weir_empty(b);
		w = weir_whole_path(b);
		series_add(s, i, b, "path", plain_us, hits, &w);
	}
}

static void run(const struct bench *b)
{
	struct engine_rules *rules = plain_compile(b);
	struct series hunt, path;
	double start_s = 0, answer, live50, live99, told50, told99, bulk_rate;
	uint32_t rule_count = engine_rules_count(rules);

	weir_store(b);
	fprintf(stderr, "%zu rulesets created in %.1f s\n", b->rules.n, weir_rulesets(b));
	run_hunts(b, rules, &hunt, &start_s);
	if (b->hunts_only) {
		printf("hunts ratio=%.3f beyond_us=%.0f plain_files_per_s_core=%.0f\n",
		       median(hunt.ratio, b->passes), median(hunt.beyond_us, b->passes),
		       median(hunt.plain_rate, b->passes));
		engine_rules_free(rules);
		return;
	}
	run_paths(b, rules, &path);
	engine_rules_free(rules);
	beside_edits(b, &answer, &live50, &live99);
	beside_told(b, &told50, &told99, &bulk_rate);
	printf("livehunt ratio=%.3f beyond_us=%.0f path_ratio=%.3f plain_files_per_s_core=%.0f "
	       "edit_answer_p50_ms=%.0f edit_live_p50_ms=%.0f edit_live_p99_ms=%.0f "
	       "told_p50_ms=%.0f told_p99_ms=%.0f bulk_files_per_s=%.0f start_s=%.1f "
	       "memory_mb=%.0f "
	       "files=%zu bytes=%llu rules=%u rulesets=%zu passes=%u\n",
	       median(hunt.ratio, b->passes), median(hunt.beyond_us, b->passes),
	       median(path.ratio, b->passes), median(hunt.plain_rate, b->passes), answer, live50,
	       live99, told50, told99, bulk_rate, start_s, beside_peak_mb(), b->corpus.n,
	       (unsigned long long)b->corpus_bytes, rule_count, b->rules.n, b->passes);
}

int main(int argc, char **argv)
{
	struct bench b = { .passes = 5, .threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) };
	uint64_t v;

	if (argc > 1 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--rules") == 0)
			b.rules_dir = argv[i + 1];
		else if (strcmp(argv[i], "--corpus") == 0)
			b.corpus_dir = argv[i + 1];
		else if (strcmp(argv[i], "--data") == 0)
			b.data_dir = argv[i + 1];
		else if (strcmp(argv[i], "--passes") == 0 &&
			 str_to_u64(str_of(argv[i + 1]), PASSES_MAX, &v) && v)
			b.passes = (unsigned)v;
		else if (strcmp(argv[i], "--hunts-only") == 0)
			b.hunts_only = strcmp(argv[i + 1], "yes") == 0;
		else if (strcmp(argv[i], "--threads") == 0 &&
			 str_to_u64(str_of(argv[i + 1]), 64, &v) && v)
			b.threads = (unsigned)v;
	}
	log_set_level(LOG_WARN);
	if (!b.rules_dir || !b.corpus_dir) {
		fprintf(stderr, "see the head of bench/livehunt.c\n");
		return 2;
	}
	b.rules = list_dir(b.rules_dir);
	b.corpus = list_dir(b.corpus_dir);
	for (size_t i = 0; i < b.corpus.n; i++) {
		struct stat st;
		if (stat(b.corpus.names[i], &st) == 0)
			b.corpus_bytes += (uint64_t)st.st_size;
	}
	if (b.data_dir)
		run(&b);
	else
		run_plain(&b);
	return 0;
}
