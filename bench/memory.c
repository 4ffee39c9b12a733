/*
 * Memory of building the corpus index and of hunting over many files.
 *
 *   bench_memory [FILES [JOBS [FOLDER]]]
 *
 * A store of FILES tiny samples (1,000,000) is made, without analyses; a FOLDER is
 * kept, and a further run uses it again. Then, each in a process of its own:
 *   build   all of them are indexed, and segments merged
 *   hunt    JOBS Retrohunt jobs (16) at once whose rule narrows nothing and matches nothing,
 *           so that every file is a candidate of every job
 * Five times a second what the process and its scan children have for themselves is added up
 * (Pss_Anon: neither mapped files nor what they share is counted twice), beside the largest
 * resident size of the server, which has its mapped files. The last line has the peaks.
 */
#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "base/thread.h"
#include "scan/scan.h"
#include "service/retrohunt.h"
#include "service/users.h"
#include "store/meta_file.h"

enum {
	FILES_DEFAULT = 1000000,
	JOBS_DEFAULT = 16,
	SAMPLE_BYTES = 200,
	STORE_STEP = 1000, /* files of one transaction */
	LOOK_MS = 200,     /* between two samples of the memory */
	SETTLED_LOOKS = 50 /* of the list of segments, without a change: no merge is left */
};

static const char rule[] = "rule narrows_nothing { condition: for any i in (0..3) : "
			   "(uint8(filesize - filesize + i) == 0x07) }";

static _Noreturn void die(const char *what, const struct err *err)
{
	fprintf(stderr, "%s: %s\n", what, err ? err->msg : "");
	exit(1);
}

/* ---- What is in memory ---- */

struct watch {
	struct thread thread;
	_Atomic bool over;
	uint64_t own_kb, all_kb; /* peaks: the process's own, and with its children */
};

/* A line of a file in /proc, in KB; 0: it is not there. */
static uint64_t proc_kb(const char *pid, const char *file, const char *name)
{
	char path[300], line[256];
	uint64_t kb = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f)) {
		if (strncmp(line, name, strlen(name)) == 0)
			kb = strtoull(line + strlen(name), NULL, 10);
	}
	if (f)
		fclose(f);
	return kb;
}

static bool is_child(const char *pid)
{
	return proc_kb(pid, "status", "PPid:") == (uint64_t)getpid();
}

static void look(struct watch *w)
{
	uint64_t own = proc_kb("self", "smaps_rollup", "Pss_Anon:"), all = own;
	DIR *dir = opendir("/proc");
	struct dirent *e;

	while (dir && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_child(e->d_name))
			all += proc_kb(e->d_name, "smaps_rollup", "Pss_Anon:");
	}
	if (dir)
		closedir(dir);
	w->own_kb = own > w->own_kb ? own : w->own_kb;
	w->all_kb = all > w->all_kb ? all : w->all_kb;
}

static void watch_run(void *arg)
{
	struct watch *w = arg;

	while (!w->over) {
		look(w);
		poll(NULL, 0, LOOK_MS);
	}
}

static void watch_begin(struct watch *w)
{
	struct err err;

	*w = (struct watch){ .over = false };
	if (thread_start(&w->thread, "watch", watch_run, w, &err) != 0)
		die("watching", &err);
}

static void watch_end(struct watch *w, const char *phase, const char *more)
{
	w->over = true;
	thread_join(&w->thread);
	printf("memory-%s own_mb=%" PRIu64 " with_children_mb=%" PRIu64 " resident_peak_mb=%" PRIu64
	       " %s\n",
	       phase, w->own_kb / 1024, w->all_kb / 1024,
	       proc_kb("self", "status", "VmHWM:") / 1024, more);
	fflush(stdout);
}

/* ---- The store ---- */

static struct service *service_of(const char *folder, struct service_options *o)
{
	struct service *svc;
	struct err err;

	o->data = folder;
	if (service_open(&svc, o, &err) != 0)
		die("opening the service", &err);
	return svc;
}

/* Some samples that are in the packs, and become files in one transaction. */
struct batch {
	struct write_req req; /* first */
	struct file_row rows[STORE_STEP];
	size_t n;
};

static int batch_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	const struct batch *b = (const struct batch *)req;
	int64_t id;

	for (size_t i = 0; i < b->n; i++)
		TRY(file_row_insert(conn, &b->rows[i], &id, err));
	return 0;
}

/* Sample number `number`: letters by lot. */
static int sample_store(struct service *svc, uint64_t number, struct file_row *ret, struct err *err)
{
	int64_t now_s = clock_unix_s(clock_system());
	char bytes[SAMPLE_BYTES];

	for (size_t i = 0; i < sizeof bytes; i++) {
		number = number * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (char)('a' + (number >> 40) % 26);
	}
	*ret = (struct file_row){ .size = sizeof bytes,
				  .corpus = STR("main"),
				  .first_submission_s = now_s,
				  .last_submission_s = now_s,
				  .times_submitted = 1,
				  .unique_sources = 1,
				  .last_name = STR("tiny") };
	sha256_of(bytes, sizeof bytes, ret->hashes.sha256);
	return packs_append(service_packs(svc), &ret->hashes, bytes, sizeof bytes, &ret->at, err);
}

static void phase_store(const char *folder, uint64_t files)
{
	struct service_options o = service_options_default(folder);
	struct batch *b = mem_must_zalloc(sizeof *b);
	char key[USER_KEY_CHARS + 1];
	struct service *svc;
	struct err err;

	o.workers = 0;
	o.index.on = false;
	o.unsafe_no_sync = true;
	svc = service_of(folder, &o);
	for (uint64_t i = 0; i < files; i += b->n) {
		b->req = (struct write_req){ .apply = batch_apply, .lane = LANE_BULK };
		for (b->n = 0; b->n < STORE_STEP && i + b->n < files; b->n++) {
			if (sample_store(svc, i + b->n, &b->rows[b->n], &err) != 0)
				die("storing", &err);
		}
		if (writer_call(service_writer(svc), &b->req, &err) != 0)
			die("storing", &err);
	}
	if (user_add(svc, STR("hunter"), ROLE_HUNTER, STR(""), NULL, key, &err) != 0)
		die("adding a user", &err);
	service_close(svc);
	free(b);
}

/* ---- Building ---- */

static void phase_build(const char *folder, uint64_t files)
{
	struct service_options o = service_options_default(folder);
	struct service *svc;
	struct watch w;
	char more[200];
	int64_t changed = 0;

	o.workers = 0;
	o.retrohunt_workers = 0;
	o.index.seconds = 0;
	watch_begin(&w);
	svc = service_of(folder, &o);
	for (unsigned same = 0; same < SETTLED_LOOKS;) {
		int64_t now = metric_get(METRIC_index_segments);
		bool all = metric_get(METRIC_index_docs) == (int64_t)files;

		same = all && now == changed ? same + 1 : 0;
		changed = now;
		poll(NULL, 0, LOOK_MS);
	}
	snprintf(more, sizeof more, "files=%" PRIu64 " segments=%lld index_mb=%lld", files,
		 (long long)metric_get(METRIC_index_segments),
		 (long long)metric_get(METRIC_index_bytes) >> 20);
	service_close(svc);
	watch_end(&w, "build", more);
}

/* ---- Hunting ---- */

struct creations {
	struct lock lock;
	struct cond fewer;
	unsigned under_way;
};

static void created(const struct retrohunt_job *job, int rc, const struct err *err,
		    struct str messages, void *arg)
{
	struct creations *c = arg;

	(void)job;
	(void)messages;
	if (rc)
		die("making a job", err);
	lock_take(&c->lock);
	c->under_way--;
	cond_signal(&c->fewer);
	lock_drop(&c->lock);
}

static void phase_hunt(const char *folder, uint64_t files, unsigned jobs)
{
	const struct retrohunt_new ask = { .rules = str_of(rule) };
	struct service_options o = service_options_default(folder);
	struct creations u = { .under_way = 0 };
	struct service *svc;
	struct user user = { 0 };
	struct watch w;
	char more[200];
	int64_t from_us;
	struct err err;

	o.retrohunt_jobs_max = jobs;
	o.workers = 1;
	watch_begin(&w);
	svc = service_of(folder, &o);
	lock_init(&u.lock, LOCK_TEST);
	cond_init(&u.fewer);
	if (user_get(svc, STR("hunter"), &user, &err) != 0)
		die("finding the user", &err);
	from_us = clock_mono_us(clock_system());
	for (unsigned i = 0; i < jobs; i++) {
		lock_take(&u.lock);
		u.under_way++;
		lock_drop(&u.lock);
		if (retrohunt_create(svc, &user, &ask, created, &u, &err) != 0)
			die("making a job", &err);
	}
	lock_take(&u.lock);
	while (u.under_way)
		cond_wait(&u.fewer, &u.lock);
	lock_drop(&u.lock);
	retrohunt_drain(svc);
	snprintf(more, sizeof more,
		 "files=%" PRIu64 " jobs=%u candidates=%lld index_mb=%lld seconds=%.0f", files,
		 jobs, (long long)metric_get(METRIC_retrohunt_candidates_total),
		 (long long)metric_get(METRIC_index_bytes) >> 20,
		 (double)(clock_mono_us(clock_system()) - from_us) / 1e6);
	watch_end(&w, "hunt", more);
	service_close(svc);
}

/* ---- All of it ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void run_phase(const char *phase, const char *folder, const char *files, const char *jobs)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl("/proc/self/exe", "bench_memory", phase, folder, files, jobs, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die(phase, NULL);
}

int main(int argc, char **argv)
{
	char folder[600], path[640], files[24], jobs[24];
	uint64_t n = FILES_DEFAULT, m = JOBS_DEFAULT;

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	if (argc == 5 && strncmp(argv[1], "--", 2) == 0) {
		n = strtoull(argv[3], NULL, 10);
		m = strtoull(argv[4], NULL, 10);
		if (strcmp(argv[1], "--store") == 0)
			phase_store(argv[2], n);
		else if (strcmp(argv[1], "--build") == 0)
			phase_build(argv[2], n);
		else
			phase_hunt(argv[2], n, (unsigned)m);
		return 0;
	}
	if ((argc > 1 && !str_to_u64(str_of(argv[1]), 100000000, &n)) ||
	    (argc > 2 && !str_to_u64(str_of(argv[2]), 1000, &m)) || !n || !m) {
		fprintf(stderr, "bench_memory [FILES [JOBS [FOLDER]]]\n");
		return 2;
	}
	snprintf(folder, sizeof folder, "%s", argc > 3 ? argv[3] : "/tmp/bench-memory-XXXXXX");
	if (argc <= 3 && !mkdtemp(folder))
		die("making a folder", NULL);
	snprintf(files, sizeof files, "%" PRIu64, n);
	snprintf(jobs, sizeof jobs, "%" PRIu64, m);
	snprintf(path, sizeof path, "%s/stored", folder);
	if (access(path, F_OK) != 0) {
		FILE *f;

		run_phase("--store", folder, files, jobs);
		f = fopen(path, "w");
		if (!f || fclose(f) != 0)
			die("noting that all is stored", NULL);
	}
	run_phase("--build", folder, files, jobs);
	run_phase("--hunt", folder, files, jobs);
	if (argc <= 3)
		(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
