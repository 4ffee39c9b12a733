/*
 * Livehunt against a plain program of the same engine library.
 *
 *   bench_livehunt --rules FOLDER --corpus FOLDER --data FOLDER [--passes N] [--threads N]
 *   bench_livehunt --rules FOLDER --corpus FOLDER      the plain side's cost alone
 *
 * Both sides run in turn in this one process, on as many cores. The plain side
 * loads the same rules, one namespace a ruleset, and scans loose files with one
 * scanner a thread. weir's side hunts files that are stored and identified:
 * timed from the moment the live set is there (analyses are claimed by then) to
 * the last commit, with every sighting told anew. Each pass gives a ratio; the
 * line at the end has their median.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/thread.h"
#include "engine.h"
#include "scan/scan.h"
#include "service/files.h"
#include "service/rulesets.h"
#include "service/users.h"

enum {
	NAMES_MAX = 100000,
	PASSES_MAX = 50
};

struct list {
	char **names;
	size_t n;
};

struct bench {
	const char *rules_dir;
	const char *corpus_dir;
	const char *data_dir;
	unsigned passes;
	unsigned threads;
	struct list rules;
	struct list corpus;
	uint64_t corpus_bytes;
};

static _Noreturn void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench_livehunt: %s: %s\n", what, err ? err->msg : strerror(errno));
	exit(1);
}

static void must(int rc, const char *what, const struct err *err)
{
	if (rc)
		die(what, err);
}

static int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct list list_dir(const char *dir)
{
	struct list l = { mem_must_zalloc(NAMES_MAX * sizeof(char *)), 0 };
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		die(dir, NULL);
	while ((e = readdir(d)) && l.n < NAMES_MAX) {
		char path[4096];
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		l.names[l.n++] = mem_must_strdup(path);
	}
	closedir(d);
	qsort(l.names, l.n, sizeof *l.names, name_compare);
	return l;
}

static size_t read_whole(const char *path, uint8_t **buf, size_t *cap)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0)
		die(path, NULL);
	if ((size_t)st.st_size > *cap) {
		*cap = (size_t)st.st_size * 2;
		free(*buf);
		*buf = mem_must_zalloc(*cap);
	}
	if (read(fd, *buf, (size_t)st.st_size) != st.st_size)
		die(path, NULL);
	close(fd);
	return (size_t)st.st_size;
}

/* ---- The plain program ---- */

struct plain {
	const struct bench *b;
	struct engine_rules *rules;
	_Atomic size_t next;
	_Atomic uint64_t hits;
};

static void count_hit(const struct engine_hit *hit, void *arg)
{
	(void)hit;
	(*(uint64_t *)arg)++;
}

static void plain_thread(void *arg)
{
	struct plain *p = arg;
	struct engine_scanner *scanner;
	uint8_t *buf = NULL;
	uint64_t hits = 0;
	size_t cap = 0, i;

	if (engine_scanner_new(p->rules, &scanner) != ENGINE_OK)
		die(engine_last_error(), NULL);
	while ((i = atomic_fetch_add(&p->next, 1)) < p->b->corpus.n) {
		size_t n = read_whole(p->b->corpus.names[i], &buf, &cap);

		if (engine_scanner_scan(scanner, buf, n, SCAN_MATCHES_MAX, count_hit, &hits) !=
		    ENGINE_OK)
			die(engine_last_error(), NULL);
	}
	atomic_fetch_add(&p->hits, hits);
	engine_scanner_free(scanner);
	free(buf);
}

static int64_t plain_pass(const struct bench *b, struct engine_rules *rules, uint64_t *hits)
{
	struct plain p = { .b = b, .rules = rules };
	struct thread *threads = mem_must_zalloc(b->threads * sizeof *threads);
	int64_t start = now_us(), us;
	struct err err;

	for (unsigned i = 0; i < b->threads; i++)
		must(thread_start(&threads[i], "plain", plain_thread, &p, &err), "thread", &err);
	for (unsigned i = 0; i < b->threads; i++)
		thread_join(&threads[i]);
	us = now_us() - start;
	*hits = p.hits;
	free(threads);
	return us;
}

static struct engine_rules *plain_compile(const struct bench *b)
{
	const struct engine_compile_options options = { .entity = ENGINE_FILE };
	struct engine_compiler *compiler;
	struct engine_buffer bytes;
	struct engine_rules *rules, *loaded;
	uint8_t *buf = NULL;
	size_t cap = 0;

	if (engine_compiler_new(&options, &compiler) != ENGINE_OK)
		die(engine_last_error(), NULL);
	for (size_t i = 0; i < b->rules.n; i++) {
		size_t n = read_whole(b->rules.names[i], &buf, &cap);
		char ns[32];
		int ns_len = snprintf(ns, sizeof ns, "r%zu", i);

		if (engine_compiler_add(compiler, ns, (size_t)ns_len, (const char *)buf, n) !=
		    ENGINE_OK)
			die(b->rules.names[i], NULL);
	}
	if (engine_compiler_build(compiler, &rules) != ENGINE_OK ||
	    engine_rules_serialize(rules, &bytes) != ENGINE_OK ||
	    engine_rules_load(bytes.data, bytes.len, &loaded) != ENGINE_OK)
		die(engine_last_error(), NULL);
	engine_compiler_free(compiler);
	engine_rules_free(rules);
	engine_buffer_free(&bytes);
	free(buf);
	return loaded;
}

/* ---- weir ---- */

static struct service *weir_open(const struct bench *b, unsigned workers)
{
	struct service_options options = service_options_default(b->data_dir);
	struct service *svc;
	struct err err;

	options.workers = workers;
	must(service_open(&svc, &options, &err), "opening the service", &err);
	return svc;
}

struct flight {
	struct lock lock;
	struct cond moved;
	size_t under_way;
	size_t failed;
};

static void flight_init(struct flight *f)
{
	*f = (struct flight){ .under_way = 0 };
	lock_init(&f->lock, LOCK_TEST);
	cond_init(&f->moved);
}

static void flight_begin(struct flight *f, size_t max)
{
	lock_take(&f->lock);
	while (f->under_way >= max)
		cond_wait(&f->moved, &f->lock);
	f->under_way++;
	lock_drop(&f->lock);
}

static void flight_end(struct flight *f, int rc)
{
	lock_take(&f->lock);
	f->under_way--;
	f->failed += rc != 0;
	cond_broadcast(&f->moved);
	lock_drop(&f->lock);
}

static void flight_wait(struct flight *f, const char *what)
{
	lock_take(&f->lock);
	while (f->under_way)
		cond_wait(&f->moved, &f->lock);
	lock_drop(&f->lock);
	if (f->failed)
		die(what, NULL);
}

static void ruleset_over(const struct ruleset *r, int rc, const struct err *err,
			 struct str messages, void *arg)
{
	(void)r;
	(void)messages;
	if (rc)
		fprintf(stderr, "ruleset: %s\n", err->msg);
	flight_end(arg, rc);
}

static void upload_over(const struct upload_outcome *outcome, int rc, const struct err *err,
			void *arg)
{
	(void)outcome;
	if (rc)
		fprintf(stderr, "upload: %s\n", err->msg);
	flight_end(arg, rc);
}

static void weir_store(const struct bench *b)
{
	struct service *svc = weir_open(b, b->threads);
	const struct upload_options options = { .lane = LANE_BULK,
						.corpus = STR("main"),
						.interface = "ingest",
						.bytes_max = 64 << 20 };
	struct flight f;
	uint8_t *buf = NULL;
	size_t cap = 0;
	struct err err;

	flight_init(&f);
	for (size_t i = 0; i < b->corpus.n; i++) {
		size_t n = read_whole(b->corpus.names[i], &buf, &cap);
		struct upload *u;

		flight_begin(&f, 256);
		must(upload_new(&u, svc, &options, &err), "upload", &err);
		must(upload_add(u, buf, n, &err), "upload", &err);
		must(upload_finish(u, upload_over, &f, &err), "upload", &err);
	}
	flight_wait(&f, "storing");
	service_drain(svc); /* identified */
	service_close(svc);
	free(buf);
}

static double weir_rulesets(const struct bench *b)
{
	struct service *svc = weir_open(b, 0);
	char key[USER_KEY_CHARS + 1];
	struct user owner;
	struct flight f;
	uint8_t *buf = NULL;
	size_t cap = 0;
	int64_t start;
	struct err err;

	must(user_add(svc, STR("hunter"), ROLE_HUNTER, STR(""), key, &err), "user", &err);
	must(user_get(svc, STR("hunter"), &owner, &err), "user", &err);
	flight_init(&f);
	start = now_us();
	for (size_t i = 0; i < b->rules.n; i++) {
		size_t n = read_whole(b->rules.names[i], &buf, &cap);
		struct ruleset_change change = {
			.set = RULESET_NAME | RULESET_RULES | RULESET_ENABLED,
			.name = str_of(strrchr(b->rules.names[i], '/') + 1),
			.rules = str_make(buf, n),
			.enabled = true
		};

		flight_begin(&f, 16);
		must(ruleset_create(svc, owner.id, &change, ruleset_over, &f, &err), "ruleset",
		     &err);
	}
	flight_wait(&f, "rulesets");
	service_close(svc);
	free(buf);
	return (double)(now_us() - start) / 1e6;
}

static int forget_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	(void)req;
	TRY(sql_exec(conn, "DELETE FROM sighting", err));
	TRY(sql_exec(conn, "DELETE FROM sighting_tag", err));
	return sql_exec(conn, "DELETE FROM stream_count", err);
}

/* Queue every file again, with nothing told so far. */
static void weir_queue(const struct bench *b)
{
	struct service *svc = weir_open(b, 0);
	struct write_req forget = { .apply = forget_apply };
	struct flight f;
	uint8_t *buf = NULL;
	size_t cap = 0;
	struct err err;

	must(writer_call(service_writer(svc), &forget, &err), "forgetting", &err);
	flight_init(&f);
	for (size_t i = 0; i < b->corpus.n; i++) {
		AUTO(arena_drop) struct arena *arena = arena_new("bench", 1 << 20);
		size_t n = read_whole(b->corpus.names[i], &buf, &cap);
		uint8_t sha256[SHA256_BYTES];
		struct file_info file;

		sha256_of(buf, n, sha256);
		must(file_get_sha256(svc, sha256, arena, &file, &err), "file", &err);
		flight_begin(&f, 256);
		must(file_reanalyse(svc, &file, 0, upload_over, &f, &err), "queue", &err);
	}
	flight_wait(&f, "queueing");
	service_close(svc);
	free(buf);
}

struct weir_pass {
	int64_t us;
	int64_t start_us; /* from opening to the live set */
	int64_t sightings;
	int64_t scan_us;
	int64_t commits;
};

static struct weir_pass weir_hunt(const struct bench *b)
{
	struct weir_pass p;
	struct service *svc;
	int64_t opened = now_us(), start;

	metric_set(METRIC_live_rules, 0);
	p.sightings = -metric_get(METRIC_sightings_total);
	p.scan_us = -metric_get(METRIC_scan_us_total);
	p.commits = -metric_get(METRIC_commits_total);
	svc = weir_open(b, b->threads);
	while (metric_get(METRIC_live_rules) == 0)
		usleep(500);
	start = now_us();
	service_drain(svc);
	p.us = now_us() - start;
	p.start_us = start - opened;
	p.sightings += metric_get(METRIC_sightings_total);
	p.scan_us += metric_get(METRIC_scan_us_total);
	p.commits += metric_get(METRIC_commits_total);
	service_close(svc);
	return p;
}

/* ---- All of it ---- */

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Only the plain side, in processor time: for fitting rules and files to each other. */
static void run_plain(const struct bench *b)
{
	struct engine_rules *rules = plain_compile(b);
	double before = cpu_s();
	uint64_t hits;

	for (unsigned i = 0; i < b->passes; i++)
		plain_pass(b, rules, &hits);
	printf("plain rules=%u hits=%llu cpu_us_per_file=%.0f\n", engine_rules_count(rules),
	       (unsigned long long)hits,
	       (cpu_s() - before) * 1e6 / (double)b->corpus.n / b->passes);
	engine_rules_free(rules);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, double_compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void run(const struct bench *b)
{
	double ratios[PASSES_MAX], overheads[PASSES_MAX], plains[PASSES_MAX];
	int64_t start = now_us(), compile_us;
	struct engine_rules *rules = plain_compile(b);
	struct weir_pass w = { 0 };
	double create_s, files = (double)b->corpus.n;

	compile_us = now_us() - start;
	fprintf(stderr, "%u rules compiled in %.1f s\n", engine_rules_count(rules),
		(double)compile_us / 1e6);
	weir_store(b);
	create_s = weir_rulesets(b);
	fprintf(stderr, "%zu rulesets created in %.1f s\n", b->rules.n, create_s);
	for (unsigned i = 0; i < b->passes; i++) {
		uint64_t hits;
		int64_t plain_us = plain_pass(b, rules, &hits);

		weir_queue(b);
		w = weir_hunt(b);
		ratios[i] = (double)plain_us / (double)w.us;
		plains[i] = files * 1e6 / (double)plain_us / b->threads;
		overheads[i] = (double)(w.us - plain_us) * b->threads / files;
		fprintf(stderr,
			"pass %u: plain %.0f files/s/core (%llu hits), weir %.0f (%lld told, %lld "
			"commits, scan %.0f us a file), ratio %.3f, beyond %.0f us\n",
			i + 1, plains[i], (unsigned long long)hits,
			files * 1e6 / (double)w.us / b->threads, (long long)w.sightings,
			(long long)w.commits, (double)w.scan_us / files, ratios[i], overheads[i]);
	}
	printf("livehunt ratio=%.3f beyond_us=%.0f plain_files_per_s_core=%.0f files=%zu "
	       "bytes=%llu "
	       "rules=%u rulesets=%zu passes=%u told=%lld start_s=%.1f\n",
	       median(ratios, b->passes), median(overheads, b->passes), median(plains, b->passes),
	       b->corpus.n, (unsigned long long)b->corpus_bytes, engine_rules_count(rules),
	       b->rules.n, b->passes, (long long)w.sightings, (double)w.start_us / 1e6);
	engine_rules_free(rules);
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
		else if (strcmp(argv[i], "--threads") == 0 &&
			 str_to_u64(str_of(argv[i + 1]), 64, &v) && v)
			b.threads = (unsigned)v;
	}
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
