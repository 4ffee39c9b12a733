/*
 * What the API promises, each against its limit in the same run (docs/bench.md).
 *
 *   bench_api [get] [stream] [uploads] [--passes N] [--ms N] [--folder FOLDER]
 *
 * Without names all three. Passes of both sides alternate; what is given is the
 * median of their ratios. --ms: how long each pass of load takes. --folder: where
 * uploads are stored; the disk below it is what is judged. Everything runs in this
 * process: servers, generator, and (as children) the scanners.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/load.h"
#include "api/parts.h"
#include "base/log.h"
#include "scan/scan.h"

enum {
	LINE_BYTES = 8192
};

static const struct {
	const char *name;
	void (*run)(const struct settings *s, struct buf *line);
} parts[] = {
	{ "get", bench_get },
	{ "stream", bench_stream },
	{ "uploads", bench_uploads },
};
enum {
	PARTS = sizeof parts / sizeof parts[0]
};

static bool part_named(const char *name, bool wanted[PARTS])
{
	for (size_t i = 0; i < PARTS; i++)
		if (strcmp(parts[i].name, name) == 0)
			return wanted[i] = true;
	return false;
}

static bool read_arguments(struct settings *s, bool wanted[PARTS], int argc, char **argv)
{
	bool any = false;
	uint64_t v;

	for (int i = 1; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (part_named(argv[i], wanted)) {
			any = true;
			continue;
		}
		if (strcmp(argv[i], "--passes") == 0 && str_to_u64(str_of(next), PASSES_MAX, &v) &&
		    v)
			s->passes = (unsigned)v;
		else if (strcmp(argv[i], "--ms") == 0 && str_to_u64(str_of(next), 600000, &v) && v)
			s->ms = (unsigned)v;
		else if (strcmp(argv[i], "--folder") == 0 && *next)
			s->folder = next;
		else
			return false;
		i++;
	}
	for (size_t i = 0; i < PARTS && !any; i++)
		wanted[i] = true;
	return true;
}

static void log_warnings(enum log_level level, struct str line, void *arg)
{
	(void)arg;
	if (level <= LOG_WARN)
		fprintf(stderr, STR_FMT "\n", STR_ARG(line));
}

int main(int argc, char **argv)
{
	struct settings s = { .folder = "build", .passes = 7, .ms = 3000 };
	struct buf line = BUF_INIT(LINE_BYTES);
	bool wanted[PARTS] = { false };

	if (argc > 1 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	if (!read_arguments(&s, wanted, argc, argv)) {
		fprintf(stderr, "see the head of bench/api.c\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	log_set_sink(log_warnings, NULL);
	for (size_t i = 0; i < PARTS; i++)
		if (wanted[i])
			parts[i].run(&s, &line);
	printf("api%s passes=%u\n", line.p ? line.p : "", s.passes);
	buf_release(&line);
	return 0;
}
