#include "livehunt.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/metric.h"
#include "service/rulesets.h"
#include "service/stream.h"
#include "service/users.h"

enum {
	EDITS = 60,
	PROBES = 200,
	PROBE_EVERY_US = 100000
};

static double peak_mb;

static double peak_mb;

/* ---- Edits ---- */

struct edit {
	struct lock lock;
	struct cond moved;
	bool over;
	int64_t answered_us;
	int64_t id;
	int64_t generation;
};

static void edit_over(const struct ruleset *r, int rc, const struct err *err, struct str messages,
		      void *arg)
{
	struct edit *e = arg;

	(void)messages;
	must(rc, "edit", err);
	lock_take(&e->lock);
	e->answered_us = now_us();
	e->id = r->id;
	e->generation = r->generation;
	e->over = true;
	cond_signal(&e->moved);
	lock_drop(&e->lock);
}

static void edit_wait(struct edit *e)
{
	lock_take(&e->lock);
	while (!e->over)
		cond_wait(&e->moved, &e->lock);
	e->over = false;
	lock_drop(&e->lock);
}

/* Where a change of one ruleset is answered, and where scanners have it. */
static void one_edit(struct service *svc, int64_t owner, struct edit *e, unsigned i,
		     double *ret_answer_ms, double *ret_live_ms)
{
	char text[200];
	struct ruleset_change change = { .set = RULESET_RULES | RULESET_ENABLED, .enabled = true };
	int64_t start;
	struct err err;

	snprintf(text, sizeof text,
		 "rule needle_%u { strings: $a = \"weir needle %u\" condition: $a }", i, i);
	change.rules = str_of(text);
	start = now_us();
	must(ruleset_update(svc, owner, e->id, &change, edit_over, e, &err), "edit", &err);
	edit_wait(e);
	*ret_answer_ms = (double)(e->answered_us - start) / 1e3;
	while (metric_get(METRIC_live_generation) < e->generation)
		usleep(200);
	*ret_live_ms = (double)(now_us() - start) / 1e3;
}

static int64_t owner_of(struct service *svc)
{
	struct user owner;
	struct err err;

	must(user_get(svc, STR("hunter"), &owner, &err), "user", &err);
	return owner.id;
}

static void edit_create(struct service *svc, int64_t owner, struct edit *e, const char *rules)
{
	struct ruleset_change change = { .set = RULESET_NAME | RULESET_RULES | RULESET_ENABLED,
					 .name = STR("edited"),
					 .rules = str_of(rules),
					 .enabled = true };
	struct err err;

	lock_init(&e->lock, LOCK_TEST);
	cond_init(&e->moved);
	must(ruleset_create(svc, owner, &change, edit_over, e, &err), "create", &err);
	edit_wait(e);
	while (metric_get(METRIC_live_generation) < e->generation)
		usleep(200);
}

static void edit_delete(struct service *svc, int64_t owner, struct edit *e)
{
	struct err err;

	must(ruleset_delete(svc, owner, e->id, NULL, edit_over, e, &err), "delete", &err);
	edit_wait(e);
}

void beside_edits(const struct bench *b, double *ret_answer_p50, double *ret_live_p50,
		  double *ret_live_p99)
{
	struct service *svc = weir_open(b, b->threads);
	int64_t owner = owner_of(svc);
	double answer[EDITS], live[EDITS];
	struct edit e = { .over = false };

	edit_create(svc, owner, &e, "rule first { condition: false }");
	for (unsigned i = 0; i < EDITS; i++)
		one_edit(svc, owner, &e, i, &answer[i], &live[i]);
	edit_delete(svc, owner, &e);
	service_close(svc);
	*ret_answer_p50 = median(answer, EDITS);
	*ret_live_p50 = median(live, EDITS);
	*ret_live_p99 = percentile(live, EDITS, 0.99);
}

/* ---- Memory ---- */

static double pss_mb(const char *pid)
{
	char path[64], line[256];
	double kb = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%.20s/smaps_rollup", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f)) {
		uint64_t v;
		struct str s = str_of(line);

		if (!str_starts(s, STR("Pss:")))
			continue;
		s = str_trim(str_make(line + 4, s.n - 4));
		if (str_to_u64(str_make(s.p, str_find(s, ' ')), UINT64_MAX, &v))
			kb = (double)v;
	}
	if (f)
		fclose(f);
	return kb / 1024;
}

static double memory_mb(void)
{
	DIR *tasks = opendir("/proc/self/task");
	double mb = pss_mb("self");
	struct dirent *task;
	char text[4096];

	/* Children belong to the thread that spawned them: look through all of ours. */
	while (tasks && (task = readdir(tasks))) {
		struct str rest, pid;
		char name[128];
		FILE *f;

		snprintf(name, sizeof name, "/proc/self/task/%.20s/children", task->d_name);
		f = fopen(name, "r");
		rest = str_make(text, f ? fread(text, 1, sizeof text - 1, f) : 0);
		if (f)
			fclose(f);
		while (str_split(&rest, ' ', &pid)) {
			char one[24] = "";

			if (pid.n && pid.n < sizeof one)
				mb += pss_mb(memcpy(one, pid.p, pid.n));
		}
	}
	if (tasks)
		closedir(tasks);
	return mb;
}

double beside_peak_mb(void)
{
	return peak_mb;
}

/* ---- Told while a bulk ingest runs ---- */

struct bulk {
	const struct bench *b;
	struct service *svc;
	_Atomic bool stop;
	uint64_t files;
	double seconds;
};

/* The corpus over and over, each time with other last bytes: new samples without end. */
static void bulk_thread(void *arg)
{
	struct bulk *k = arg;
	int64_t start = now_us();
	uint8_t *buf = NULL;
	struct flight f;
	size_t cap = 0;

	flight_init(&f);
	for (uint64_t i = 0; !atomic_load(&k->stop); i++) {
		size_t n = read_whole(k->b->corpus.names[i % k->b->corpus.n], &buf, &cap);

		if (n >= sizeof i)
			memcpy(buf + n - sizeof i, &i, sizeof i);
		weir_upload(k->svc, buf, n, LANE_BULK, &f);
		k->files++;
	}
	flight_wait(&f, "bulk");
	k->seconds = (double)(now_us() - start) / 1e6;
	free(buf);
}

static int64_t newest_seq(struct service *svc, int64_t owner, int64_t ruleset_id)
{
	AUTO(arena_drop) struct arena *arena = arena_new("bench", 16 << 20);
	char filter[64];
	struct stream_request ask = { .owner_id = owner, .limit = 1, .descriptors_only = true };
	struct stream_answer answer;
	struct err err;

	snprintf(filter, sizeof filter, "source_id:%lld", (long long)ruleset_id);
	ask.filter = str_of(filter);
	must(stream_read(svc, &ask, arena, &answer, &err), "stream", &err);
	return answer.count ? answer.entries[0].seq : 0;
}

static double one_probe(struct service *svc, int64_t owner, const struct edit *e, unsigned i,
			int64_t *last_seq)
{
	uint8_t sample[4096];
	struct flight f;
	int64_t acknowledged;
	int64_t seq;

	memset(sample, ' ', sizeof sample);
	snprintf((char *)sample, sizeof sample, "weir probe needle %u %lld", i,
		 (long long)now_us());
	flight_init(&f);
	weir_upload(svc, sample, sizeof sample, LANE_API, &f);
	flight_wait(&f, "probe");
	acknowledged = now_us();
	while ((seq = newest_seq(svc, owner, e->id)) == *last_seq)
		usleep(1000);
	*last_seq = seq;
	return (double)(now_us() - acknowledged) / 1e3;
}

void beside_told(const struct bench *b, double *ret_p50, double *ret_p99, double *ret_bulk_rate)
{
	struct bulk k = { .b = b, .svc = weir_open(b, b->threads) };
	int64_t owner = owner_of(k.svc), last_seq = 0;
	double told[PROBES], mb;
	struct edit e = { .over = false };
	struct thread thread;
	struct err err;

	edit_create(k.svc, owner, &e,
		    "rule probe { strings: $a = \"weir probe needle\" condition: $a }");
	must(thread_start(&thread, "bulk", bulk_thread, &k, &err), "thread", &err);
	usleep(1000000);
	for (unsigned i = 0; i < PROBES; i++) {
		if (i % 20 == 0 && (mb = memory_mb()) > peak_mb)
			peak_mb = mb;
		told[i] = one_probe(k.svc, owner, &e, i, &last_seq);
		usleep(PROBE_EVERY_US);
	}
	atomic_store(&k.stop, true);
	thread_join(&thread);
	edit_delete(k.svc, owner, &e);
	service_close(k.svc);
	*ret_p50 = median(told, PROBES);
	*ret_p99 = percentile(told, PROBES, 0.99);
	*ret_bulk_rate = (double)k.files / k.seconds;
}
