/*
 * What confined children make of many samples in one message, against the same
 * engine called in this process.
 *
 *   bench_verify [--seconds N] [--threads N]
 *
 * Each row is a set of rules over small or large samples: pieces of this program's
 * own file, some with the head of a PE file. Three sides in turn, round by round,
 * each with one scanner a core:
 *   plain   opens, maps and scans loose files, as a program over a folder does
 *   mapped  scans the same bytes in one mapped pack: the engine and nothing else
 *   weir    sends them to children, many in a request
 *   single  the same with a message for each sample
 * The rate of a side is the median of its rounds; the last line has weir's rates
 * over plain's.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/thread.h"
#include "engine.h"
#include "scan/many.h"

enum {
	THREADS_MAX = 256,
	ROUNDS_MAX = 9,
	RULES_MANY = 300,
	SOURCE_MAX = 1 << 20,
	REQUESTS = 2,           /* under way in each child */
	REQUEST_BYTES = 8 << 20 /* about as many in each: all cores end together */
};

enum side {
	PLAIN,
	MAPPED,
	WEIR,
	SINGLE,
	SIDES
};
static const char *const side_names[SIDES] = { "plain", "mapped", "weir", "single" };

struct samples {
	const char *name;
	uint32_t count;
	uint32_t bytes; /* of each, about */
	char folder[64];
	int pack;
	const uint8_t *map;
	uint64_t pack_bytes;
	struct scan_item *items;
};

struct run {
	const struct samples *s;
	const struct engine_rules *engine;
	struct scan_rules *rules;
	struct scan_pool *pool;
	enum side side;
	_Atomic uint32_t next;
	_Atomic uint64_t hits;
};

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_verify: %s: %s\n", what, why);
	exit(1);
}

static int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

/* ---- Samples ---- */

static void samples_make(struct samples *s, const uint8_t *from, size_t from_bytes)
{
	struct rand_seq r = { s->bytes };
	uint8_t *piece = mem_must_zalloc(s->bytes * 2);
	char path[128];

	(void)snprintf(s->folder, sizeof s->folder, "/tmp/bench_verify.%s.%d", s->name, getpid());
	if (mkdir(s->folder, 0700) != 0)
		die(s->folder, "cannot be made");
	(void)snprintf(path, sizeof path, "%s/pack", s->folder);
	s->pack = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	s->items = mem_must_zalloc(s->count * sizeof *s->items);
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t n = s->bytes / 2 + (uint32_t)(rand_next(&r) % s->bytes);
		int fd;

		memcpy(piece, from + rand_next(&r) % (from_bytes - n), n);
		if (i % 4 == 0)
			memcpy(piece, "MZ", 2);
		s->pack_bytes = (s->pack_bytes + 64 + 7) & ~UINT64_C(7);
		s->items[i] =
			(struct scan_item){ .offset = s->pack_bytes, .len = n, .slots = 1 << 2 };
		(void)snprintf(path, sizeof path, "%s/%u", s->folder, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (write(fd, piece, n) != n ||
		    pwrite(s->pack, piece, n, (off_t)s->pack_bytes) != n)
			die(path, "cannot be written");
		close(fd);
		s->pack_bytes += n;
	}
	s->map = mmap(NULL, s->pack_bytes, PROT_READ, MAP_PRIVATE, s->pack, 0);
	if (s->map == MAP_FAILED)
		die(s->folder, "cannot be mapped");
	free(piece);
}

static void samples_remove(struct samples *s)
{
	char path[128];

	for (uint32_t i = 0; i < s->count; i++) {
		(void)snprintf(path, sizeof path, "%s/%u", s->folder, i);
		unlink(path);
	}
	(void)snprintf(path, sizeof path, "%s/pack", s->folder);
	unlink(path);
	rmdir(s->folder);
}

/* ---- Sides ---- */

static void count_hit(const struct engine_hit *hit, void *arg)
{
	uint64_t *n = arg;

	(void)hit;
	++*n;
}

static void engine_side(struct run *run)
{
	struct engine_scanner *scanner;
	uint64_t hits = 0;
	char path[128];

	if (engine_scanner_new(run->engine, &scanner) != ENGINE_OK)
		die("engine", engine_last_error());
	for (uint32_t i; (i = atomic_fetch_add(&run->next, 1)) < run->s->count;) {
		const struct scan_item *item = &run->s->items[i];
		const uint8_t *p = run->s->map + item->offset;
		struct stat st;
		int fd = -1;

		if (run->side == PLAIN) {
			(void)snprintf(path, sizeof path, "%s/%u", run->s->folder, i);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0 || fstat(fd, &st) != 0 ||
			    (p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) ==
				    MAP_FAILED)
				die(path, "cannot be mapped");
		}
		if (engine_scanner_scan(scanner, p, item->len, SCAN_MATCHES_MAX, count_hit,
					&hits) != ENGINE_OK)
			die("engine", engine_last_error());
		if (run->side == PLAIN) {
			munmap((void *)(uintptr_t)p, item->len);
			close(fd);
		}
	}
	engine_scanner_free(scanner);
	atomic_fetch_add(&run->hits, hits);
}

static bool send_next(struct run *run, struct scan_child *child)
{
	uint32_t each = REQUEST_BYTES / run->s->bytes;
	uint32_t n = run->side != WEIR ? 1 : each < SCAN_MANY_MAX ? each : SCAN_MANY_MAX;
	uint32_t from = atomic_fetch_add(&run->next, n);
	struct scan_facts facts = { .submissions = 0 };
	struct err err;
	int rc;

	if (from >= run->s->count)
		return false;
	if (n > run->s->count - from)
		n = run->s->count - from;
	const struct scan_item *item = &run->s->items[from];
	struct scan_sample sample = { run->s->pack, item->offset, item->len };

	if (run->side == WEIR)
		rc = scan_many_send(child, &run->s->pack, 1, item, n, &err);
	else
		rc = scan_send(child, &sample, &facts, 1 << 2, &err);
	if (rc != 0)
		die("weir", err.msg);
	return true;
}

static void child_side(struct run *run)
{
	unsigned depth = run->side == WEIR ? REQUESTS : SCAN_DEPTH;
	struct scan_child *child;
	struct scan_found found = { 0 };
	struct scan_result result = { 0 };
	uint64_t hits = 0;
	struct err err;
	bool more = true;

	if (scan_child_take(&child, run->pool, &err) != 0)
		die("weir", err.msg);
	if (scan_loaded(child, 2) != run->rules && scan_load(child, 2, run->rules, &err) != 0)
		die("weir", err.msg);
	for (;;) {
		while (more && scan_pending(child) < depth)
			more = send_next(run, child);
		if (scan_pending(child) == 0)
			break;
		int rc = run->side == WEIR ? scan_many_recv(child, &found, &err)
					   : scan_recv(child, &result, &err);

		if (rc != 0)
			die("weir", err.msg);
		hits += run->side == WEIR ? found.result.hit_count : result.hit_count;
	}
	scan_child_give(run->pool, child);
	scan_found_release(&found);
	scan_result_release(&result);
	atomic_fetch_add(&run->hits, hits);
}

static void side_run(void *arg)
{
	struct run *run = arg;

	if (run->side == PLAIN || run->side == MAPPED)
		engine_side(run);
	else
		child_side(run);
}

static double run_side(struct run *run, enum side side, unsigned threads, uint64_t *ret_hits)
{
	struct thread t[THREADS_MAX];
	struct err err;
	int64_t start_us = now_us();

	run->side = side;
	atomic_store(&run->next, 0);
	atomic_store(&run->hits, 0);
	for (unsigned i = 0; i < threads; i++) {
		if (thread_start(&t[i], "side", side_run, run, &err) != 0)
			die("threads", err.msg);
	}
	for (unsigned i = 0; i < threads; i++)
		thread_join(&t[i]);
	*ret_hits = atomic_load(&run->hits);
	return (double)(now_us() - start_us) / 1e6;
}

/* ---- Rules ---- */

static void put_rules(struct buf *out, const char *kind)
{
	if (strcmp(kind, "literal") == 0)
		buf_addf(out, "rule r { strings: $a = \"a text that is nowhere\" condition: $a }");
	else if (strcmp(kind, "header") == 0)
		buf_addf(out, "rule r { strings: $a = \"a text that is nowhere\" condition: "
			      "uint16(0) == 0x5a4d and $a }");
	else
		for (unsigned i = 0; i < RULES_MANY; i++)
			buf_addf(out,
				 "rule r%u { strings: $a = \"first text %u\" $b = \"other text "
				 "%u\" wide $c = { %02x 8b ?? 24 %02x 48 89 } condition: uint16(0) "
				 "== "
				 "0x5a4d and any of them }\n",
				 i, i, i, i & 0xff, i * 7 & 0xff);
}

static struct engine_rules *engine_compile(const struct buf *source)
{
	struct engine_compile_options options = { .entity = ENGINE_FILE };
	struct engine_compiler *compiler;
	struct engine_rules *rules;

	if (engine_compiler_new(&options, &compiler) != ENGINE_OK ||
	    engine_compiler_add(compiler, "b", 1, source->p, source->n) != ENGINE_OK ||
	    engine_compiler_build(compiler, &rules) != ENGINE_OK)
		die("rules", engine_last_error());
	engine_compiler_free(compiler);
	return rules;
}

static struct scan_rules *child_compile(struct scan_pool *pool, const struct buf *source)
{
	struct scan_source s = { STR("b"), buf_str(source) };
	struct scan_compile_options options = { .entity = SCAN_FILE };
	struct scan_child *child;
	struct scan_rules *rules;
	struct err err;

	if (scan_child_take(&child, pool, &err) != 0 ||
	    scan_compile(child, &s, 1, &options, &rules, NULL, &err) != 0 || !rules)
		die("rules", err.msg);
	scan_child_give(pool, child);
	return rules;
}

/* ---- The whole ---- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double row(const struct samples *s, const char *kind, struct scan_pool *pool,
		  unsigned threads, double seconds)
{
	AUTO(buf_release) struct buf source = BUF_INIT(SOURCE_MAX);
	double took[SIDES][ROUNDS_MAX] = { 0 };
	double bytes = 0;
	unsigned rounds = 0;

	put_rules(&source, kind);
	struct run run = { .s = s,
			   .engine = engine_compile(&source),
			   .rules = child_compile(pool, &source),
			   .pool = pool };
	uint64_t hits[SIDES];

	for (unsigned side = 0; side < SIDES; side++)
		(void)run_side(&run, (enum side)side, threads, &hits[side]);
	for (int64_t end_us = now_us() + (int64_t)(seconds * 1e6);
	     rounds < 3 || (now_us() < end_us && rounds < ROUNDS_MAX); rounds++) {
		for (unsigned side = 0; side < SIDES; side++) {
			took[side][rounds] = run_side(&run, (enum side)side, threads, &hits[side]);
			if (hits[side] != hits[PLAIN])
				die(kind, "the sides do not find the same");
		}
	}
	for (uint32_t i = 0; i < s->count; i++)
		bytes += s->items[i].len;
	printf("%s %s: %u files, %.0f MB, %" PRIu64 " hits;", s->name, kind, s->count, bytes / 1e6,
	       hits[PLAIN]);
	for (unsigned side = 0; side < SIDES; side++) {
		qsort(took[side], rounds, sizeof took[side][0], by_size);
		double t = took[side][rounds / 2];

		printf(" %s %.1f us/file/core %.0f MB/s%s", side_names[side],
		       t * 1e6 * threads / s->count, bytes / 1e6 / t,
		       side + 1 < SIDES ? "," : "\n");
	}
	fflush(stdout);
	engine_rules_free((struct engine_rules *)(uintptr_t)run.engine);
	scan_rules_unref(run.rules);
	return took[PLAIN][rounds / 2] / took[WEIR][rounds / 2];
}

int main(int argc, char **argv)
{
	struct samples all[] = { { .name = "small", .count = 20000, .bytes = 4096 },
				 { .name = "middle", .count = 4000, .bytes = 64 << 10 },
				 { .name = "large", .count = 200, .bytes = 1 << 20 } };
	static const char *const kinds[] = { "literal", "header", "rules300" };
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	uint64_t seconds = 5, threads = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	struct scan_pool *pool;
	char summary[1024] = "verify";
	size_t at = strlen(summary);
	struct stat st;
	struct err err;

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t *to = strcmp(argv[i], "--seconds") == 0 ? &seconds : &threads;

		if (!str_to_u64(str_of(argv[i + 1]), THREADS_MAX, to) || *to == 0)
			die(argv[i], "not a number");
	}
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (self < 0 || fstat(self, &st) != 0)
		die("this program", "cannot be read");
	const uint8_t *from = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, self, 0);

	options.children_max = (uint32_t)threads + 1;
	if (from == MAP_FAILED || scan_pool_open(&pool, &options, &err) != 0)
		die("children", "cannot be started");
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		samples_make(&all[i], from, (size_t)st.st_size);
		for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
			double ratio =
				row(&all[i], kinds[k], pool, (unsigned)threads, (double)seconds);

			at += (size_t)snprintf(summary + at, sizeof summary - at, " %s_%s=%.2f",
					       all[i].name, kinds[k], ratio);
		}
		samples_remove(&all[i]);
	}
	scan_pool_close(pool);
	printf("%s\n", summary);
	return 0;
}
