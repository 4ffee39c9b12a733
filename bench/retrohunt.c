/*
 * The plain side of the Retrohunt benchmark: YARA-X over loose files, as a hunter without an
 * index would do it. The rules of a source are compiled as one set; one scanner a core; each file
 * is mapped. What make bench-retrohunt compares with is the whole run of this program.
 *
 *   bench_retrohunt RULES LIST [THREADS]
 *
 * LIST holds a path a line. Prints 'line<TAB>rule' for each match (lines count from 0), then
 * one line 'plain key=value ...'.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine.h"

enum {
	THREADS_MAX = 256,
	LIST_BYTES_MAX = 256 << 20,
	RULES_BYTES_MAX = 4 << 20,
	RULES_MAX = 10000
};

struct plain {
	struct engine_rules *rules;
	char *names[RULES_MAX];
	char **paths;
	size_t path_count;
	_Atomic size_t next;
	_Atomic uint64_t bytes;
	_Atomic uint64_t hits;
	struct lock out; /* of stdout */
};

_Noreturn static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_retrohunt: %s: %s\n", what, why);
	exit(1);
}

static void engine_must(enum engine_result rc, const char *what)
{
	if (rc != ENGINE_OK)
		die(what, engine_last_error());
}

static char *read_text(const char *path, size_t max, size_t *ret_n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t n = 0;
	char *text;

	if (fd < 0 || fstat(fd, &st) != 0)
		die(path, strerror(errno));
	if ((size_t)st.st_size > max)
		die(path, "too large");
	text = mem_must_zalloc((size_t)st.st_size + 1);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, text + n, (size_t)st.st_size - n);

		if (got <= 0)
			die(path, strerror(errno));
		n += (size_t)got;
	}
	close(fd);
	*ret_n = n;
	return text;
}

static void read_list(struct plain *p, const char *path)
{
	size_t n, lines = 0;
	char *text = read_text(path, LIST_BYTES_MAX, &n), *at = text, *end;

	for (size_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	p->paths = mem_must_zalloc((lines + 1) * sizeof *p->paths);
	for (; (end = strchr(at, '\n')); at = end + 1) {
		*end = '\0';
		p->paths[p->path_count++] = at;
	}
}

static void remember_name(const struct engine_rule *rule, void *arg)
{
	struct plain *p = arg;

	if (rule->index >= RULES_MAX)
		die("rules", "too many");
	p->names[rule->index] = mem_must_zalloc(rule->name.n + 1);
	memcpy(p->names[rule->index], rule->name.p, rule->name.n);
}

static void compile(struct plain *p, const char *path)
{
	const struct engine_compile_options options = { .entity = ENGINE_FILE, .retrohunt = true };
	struct engine_compiler *compiler;
	size_t n;
	char *text = read_text(path, RULES_BYTES_MAX, &n);

	engine_must(engine_compiler_new(&options, &compiler), "compiler");
	engine_must(engine_compiler_add(compiler, "r", 1, text, n), path);
	engine_must(engine_compiler_build(compiler, &p->rules), path);
	engine_compiler_free(compiler);
	engine_must(engine_rules_each(p->rules, remember_name, p), "rules");
	free(text);
}

struct scanning {
	struct plain *p;
	size_t file;
};

static void tell(const struct engine_hit *hit, void *arg)
{
	const struct scanning *s = arg;

	lock_take(&s->p->out);
	printf("%zu\t%s\n", s->file, s->p->names[hit->rule_index]);
	lock_drop(&s->p->out);
	atomic_fetch_add(&s->p->hits, 1);
}

static void scan_file(struct plain *p, struct engine_scanner *scanner, size_t file)
{
	struct scanning s = { p, file };
	int fd = open(p->paths[file], O_RDONLY | O_CLOEXEC);
	const uint8_t *bytes = (const uint8_t *)"";
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		die(p->paths[file], strerror(errno));
	if (st.st_size &&
	    (bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
		die(p->paths[file], strerror(errno));
	close(fd);
	engine_must(engine_scanner_scan(scanner, bytes, (size_t)st.st_size, 1, tell, &s),
		    p->paths[file]);
	if (st.st_size)
		munmap((void *)(uintptr_t)bytes, (size_t)st.st_size);
	atomic_fetch_add(&p->bytes, (uint64_t)st.st_size);
}

static void scan_some(void *arg)
{
	struct plain *p = arg;
	struct engine_scanner *scanner;
	size_t file;

	engine_must(engine_scanner_new(p->rules, &scanner), "scanner");
	while ((file = atomic_fetch_add(&p->next, 1)) < p->path_count)
		scan_file(p, scanner, file);
	engine_scanner_free(scanner);
}

static unsigned threads_wanted(int argc, char **argv)
{
	long n = argc == 4 ? strtol(argv[3], NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1 || n > THREADS_MAX)
		die("threads", "1 to 256");
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	static struct plain p;
	struct thread threads[THREADS_MAX];
	int64_t start = clock_mono_us(clock_system()), compiled, end;
	unsigned n;
	struct err err;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "bench_retrohunt RULES LIST [THREADS]\n");
		return 2;
	}
	n = threads_wanted(argc, argv);
	lock_init(&p.out, LOCK_TEST);
	read_list(&p, argv[2]);
	compile(&p, argv[1]);
	compiled = clock_mono_us(clock_system());
	for (unsigned i = 0; i < n; i++)
		if (thread_start(&threads[i], "plain", scan_some, &p, &err))
			die("thread", err.msg);
	for (unsigned i = 0; i < n; i++)
		thread_join(&threads[i]);
	end = clock_mono_us(clock_system());
	printf("plain files=%zu bytes=%llu hits=%llu compile_us=%lld scan_us=%lld\n", p.path_count,
	       (unsigned long long)p.bytes, (unsigned long long)p.hits,
	       (long long)(compiled - start), (long long)(end - compiled));
	return 0;
}
