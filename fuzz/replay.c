#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"

/*
 * Runs a fuzz target over files, its own seeds, and mutations of both that are
 * the same in every run. Not a fuzzer: it keeps what was found from coming back,
 * where there is no Clang too.
 *
 *   replay_NAME FILE-OR-FOLDER…
 *   replay_NAME --write FOLDER     writes the target's own seeds there instead
 */
enum {
	MUTATIONS = 200,
	INPUT_BYTES_MAX = 1 << 20
};

static struct rand_seq lots;
static unsigned inputs;

static void mutate(uint8_t *p, size_t *n)
{
	static const uint8_t edges[] = { 0x00, 0x01, 0x7f, 0x80, 0xff, '\'', '"', '\\' };

	for (uint64_t i = 1 + rand_below(&lots, 4); i > 0 && *n > 0; i--) {
		size_t at = rand_below(&lots, *n);

		switch (rand_below(&lots, 5)) {
		case 0:
			p[at] ^= (uint8_t)(1u << rand_below(&lots, 8));
			break;
		case 1:
			p[at] = edges[rand_below(&lots, sizeof edges)];
			break;
		case 2:
			*n = at;
			break;
		case 3:
			memmove(p + at, p + at + 1, --*n - at);
			break;
		default:
			p[at] = (uint8_t)rand_next(&lots);
			break;
		}
	}
}

static void run_input(const uint8_t *data, size_t n)
{
	inputs++;
	(void)LLVMFuzzerTestOneInput(data, n);
	for (int i = 0; i < MUTATIONS; i++) {
		/* Of its exact size, so that a read beyond it is seen. */
		uint8_t *copy = mem_must_dup(data, n > 0 ? n : 1);
		size_t m = n;
		void *exact;

		mutate(copy, &m);
		exact = copy;
		if (m > 0)
			mem_must_grow(&exact, m, 1);
		(void)LLVMFuzzerTestOneInput(exact, m);
		free(exact);
	}
}

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;
	size_t n;

	if (!f)
		return 1;
	p = mem_must_zalloc(INPUT_BYTES_MAX);
	n = fread(p, 1, INPUT_BYTES_MAX, f);
	fclose(f);
	run_input(p, n);
	free(p);
	return 0;
}

static int run_path(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int failed = 0;

	if (!dir)
		return run_file(path);
	while ((entry = readdir(dir)) != NULL) {
		char below[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
		failed += run_file(below);
	}
	closedir(dir);
	return failed;
}

static const char *write_to;

static void write_seed(const uint8_t *data, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/seed-%u", write_to, inputs++);
	f = fopen(path, "wb");
	REQUIRE(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

int main(int argc, char **argv)
{
	static const uint8_t nothing[1];

	if (argc == 3 && strcmp(argv[1], "--write") == 0) {
		write_to = argv[2];
		if (fuzz_seeds)
			fuzz_seeds(write_seed);
		return 0;
	}
	lots.state = 1;
	run_input(nothing, 0);
	if (fuzz_seeds)
		fuzz_seeds(run_input);
	/* A target that makes its seeds may have no corpus. */
	for (int i = 1; i < argc; i++) {
		if (run_path(argv[i]) != 0 && !fuzz_seeds) {
			fprintf(stderr, "cannot read '%s'\n", argv[i]);
			return 1;
		}
	}
	printf("%u inputs, each with %d mutations\n", inputs, MUTATIONS);
	return 0;
}
