#include "livehunt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

_Noreturn void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench_livehunt: %s: %s\n", what, err ? err->msg : strerror(errno));
	exit(1);
}

void must(int rc, const char *what, const struct err *err)
{
	if (rc)
		die(what, err);
}

int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct list list_dir(const char *dir)
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

size_t read_whole(const char *path, uint8_t **buf, size_t *cap)
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

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, double_compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double percentile(double *v, size_t n, double p)
{
	size_t i = (size_t)(p * (double)n);

	qsort(v, n, sizeof *v, double_compare);
	return v[i < n ? i : n - 1];
}
