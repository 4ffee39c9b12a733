#include "ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/mem.h"

enum {
	MARK_BYTES_MAX = 128 * 1024, /* the longest path of a walk and a line */
	MARK_NAME_BYTES = 16
};

static const char magic[] = "weir-ingest 1";

/* The same folders by whatever name; what is not there by the name given. */
static void add_path(struct hasher *h, const char *path)
{
	char *real = realpath(path, NULL);
	const char *name = real ? real : path;

	hasher_add(h, name, strlen(name) + 1);
	free(real);
}

int ingest_mark_init(struct ingest_mark *m, const char *data, const char *corpus,
		     const char *const *paths, size_t n, struct err *err)
{
	AUTO(hasher_drop) struct hasher *h = hasher_new();
	char name[2 * MARK_NAME_BYTES + 1], folder[3600];
	struct hashes hashes;

	hasher_add(h, corpus, strlen(corpus) + 1);
	for (size_t i = 0; i < n; i++)
		add_path(h, paths[i]);
	hasher_end(h, &hashes);
	hex_encode(hashes.sha256, MARK_NAME_BYTES, name);
	snprintf(folder, sizeof folder, "%s/ingest", data);
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return err_sys(err, errno, "cannot make '%s'", folder);
	snprintf(m->path, sizeof m->path, "%s/%s.progress", folder, name);
	snprintf(m->aside, sizeof m->aside, "%s.tmp", m->path);
	return 0;
}

/* One more number of the first line. */
static bool take_number(struct str *line, uint64_t *ret)
{
	struct str word;

	return str_split(line, ' ', &word) && str_to_u64(word, UINT64_MAX, ret);
}

/*
 * "weir-ingest 1 PATH BYTES CRC FILES FAILED\n", then the place in BYTES bytes. false: not whole,
 * which a power loss may do; then there is nothing to go on from.
 */
static bool mark_parse(struct str text, size_t path_count, size_t *ret_path, char **ret_below,
		       struct ingest_numbers *numbers)
{
	uint64_t path, bytes, crc, files, failed;
	struct str line;

	if (!str_split(&text, '\n', &line) || !str_starts(line, str_of(magic)) ||
	    line.n <= sizeof magic)
		return false;
	line = str_make(line.p + sizeof magic, line.n - sizeof magic);
	if (!take_number(&line, &path) || !take_number(&line, &bytes) ||
	    !take_number(&line, &crc) || !take_number(&line, &files) ||
	    !take_number(&line, &failed))
		return false;
	if (path >= path_count || bytes != text.n || crc != crc32c(0, text.p ? text.p : "", text.n))
		return false;
	*ret_path = (size_t)path;
	*ret_below = str_dup(text);
	numbers->before = files;
	numbers->failed_before = failed;
	return true;
}

int ingest_mark_read(const struct ingest_mark *m, size_t path_count, size_t *ret_path,
		     char **ret_below, struct ingest_numbers *numbers, struct err *err)
{
	AUTO(mem_drop) void *mem = NULL;
	int fd = open(m->path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	*ret_below = NULL;
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "cannot open '%s'", m->path);
	mem = mem_must_zalloc(MARK_BYTES_MAX);
	n = read(fd, mem, MARK_BYTES_MAX);
	close(fd);
	if (n < 0)
		return err_sys(err, errno, "cannot read '%s'", m->path);
	(void)mark_parse(str_make(mem, (size_t)n), path_count, ret_path, ret_below, numbers);
	return 0;
}

int ingest_mark_write(const struct ingest_mark *m, const struct walk_place *place,
		      const struct ingest_numbers *numbers, struct err *err)
{
	unsigned long long files = numbers->before + numbers->files;
	unsigned long long failed = numbers->failed_before + numbers->failed;
	struct str below = place->below;
	FILE *f = fopen(m->aside, "we");
	bool fine;

	if (!f)
		return err_sys(err, errno, "cannot write '%s'", m->aside);
	fine = fprintf(f, "%s %zu %zu %u %llu %llu\n", magic, place->path, below.n,
		       crc32c(0, below.n ? below.p : "", below.n), files, failed) > 0 &&
	       fwrite(below.n ? below.p : "", 1, below.n, f) == below.n;
	fine = fclose(f) == 0 && fine;
	if (!fine || rename(m->aside, m->path) != 0)
		return err_sys(err, errno, "cannot write '%s'", m->path);
	return 0;
}

void ingest_mark_remove(const struct ingest_mark *m)
{
	unlink(m->path);
	unlink(m->aside);
}
