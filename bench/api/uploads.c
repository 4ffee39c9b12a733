#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/load.h"
#include "api/parts.h"
#include "api/world.h"
#include "base/metric.h"
#include "base/rand.h"
#include "base/thread.h"
#include "service/rulesets.h"

enum {
	CLIENTS = 64,
	RULESETS = 5,
	FILE_BYTES = 4096,
};
#define BOUNDARY "----weir-bench-3f9a61c2"

/* ---- Bodies: no two alike ---- */

struct bodies {
	const struct world *world;
	struct rand_seq rand;
	uint64_t count;
};

static void request_upload(struct buf *out, void *arg)
{
	static const char before[] = "--" BOUNDARY "\r\n"
				     "Content-Disposition: form-data; name=\"file\"; "
				     "filename=\"sample.bin\"\r\n"
				     "Content-Type: application/octet-stream\r\n\r\n";
	static const char after[] = "\r\n--" BOUNDARY "--\r\n";
	struct bodies *b = arg;
	uint64_t noise[FILE_BYTES / 8];

	for (size_t i = 0; i < FILE_BYTES / 8; i++)
		noise[i] = rand_next(&b->rand);
	if (b->count++ % 100 == 0) /* one in a hundred is what a ruleset looks for */
		memcpy(noise + 64, "beacon stage two", 16);
	world_request(b->world, out, "POST", STR("/api/v3/files"));
	buf_addf(out,
		 "Content-Type: multipart/form-data; boundary=" BOUNDARY "\r\n"
		 "Content-Length: %zu\r\n\r\n",
		 sizeof before - 1 + sizeof noise + sizeof after - 1);
	buf_add(out, before, sizeof before - 1);
	buf_add(out, noise, sizeof noise);
	buf_add(out, after, sizeof after - 1);
}

/* ---- The two servers ---- */

struct created {
	struct lock lock;
	struct cond cond;
	bool over;
};

static void ruleset_over(const struct ruleset *r, int rc, const struct err *err,
			 struct str messages, void *arg)
{
	struct created *c = arg;

	(void)r;
	(void)messages;
	must(rc, "ruleset", err);
	lock_take(&c->lock);
	c->over = true;
	cond_signal(&c->cond);
	lock_drop(&c->lock);
}

static void add_ruleset(struct service *svc, int64_t owner_id, unsigned i)
{
	struct created c = { .over = false };
	char name[32], rules[512];
	struct ruleset_change change = { .set = RULESET_NAME | RULESET_RULES | RULESET_ENABLED,
					 .enabled = true };
	struct err err;

	snprintf(name, sizeof name, "set %u", i);
	snprintf(rules, sizeof rules,
		 "rule beacon_%u { strings: $a = \"beacon stage two\" $b = \"stage%u\" wide "
		 "condition: any of them and filesize < 1MB and %u == %u }\n"
		 "rule loader_%u { strings: $h = { 4D 5A [2-40] 50 45 00 00 %02X } "
		 "$r = /cmd\\.exe \\/c [a-z]{3,9}%u/ condition: any of them }\n",
		 i, i, i, i % 2 ? i : 0, i, i, i);
	change.name = str_of(name);
	change.rules = str_of(rules);
	lock_init(&c.lock, LOCK_TEST);
	cond_init(&c.cond);
	must(ruleset_create(svc, owner_id, &change, ruleset_over, &c, &err), "ruleset", &err);
	lock_take(&c.lock);
	while (!c.over)
		cond_wait(&c.cond, &c.lock);
	lock_drop(&c.lock);
	cond_release(&c.cond);
	lock_release(&c.lock);
}

static void server_open(struct world *w, const char *folder, const char *name, bool no_sync)
{
	char path[4096];
	struct world_options options = { .data = path,
					 .workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
					 .unsafe_no_sync = no_sync };
	struct user owner;
	struct err err;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	world_open(w, &options);
	must(user_get(w->svc, STR("hunter"), &owner, &err), "user", &err);
	for (unsigned i = 0; i < RULESETS; i++)
		add_ruleset(w->svc, owner.id, i);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

/* ---- Passes ---- */

struct upload_pass {
	double per_s, p50_us, p99_us, cpu_us, client;
	double syncs, hunt_syncs,
		commits; /* an upload: while uploading, then until all is hunted */
};

static struct upload_pass measure(const struct world *w, unsigned clients, unsigned ms,
				  uint64_t seed, const char *what)
{
	struct bodies bodies = { .world = w, .rand = { seed } };
	struct load load = { .port = w->port,
			     .connections = clients,
			     .ms = ms,
			     .cpu = -1,
			     .status = 200,
			     .request = request_upload,
			     .arg = &bodies };
	int64_t syncs = metric_get(METRIC_syncs_total), commits = metric_get(METRIC_commits_total);
	int64_t uploads = metric_get(METRIC_uploads_total), told;
	struct load_result r = load_run(&load);
	struct upload_pass p;
	double n = (double)r.answers;

	if (metric_get(METRIC_uploads_total) - uploads != (int64_t)r.answers)
		die("uploads", "the server counted another number than were acknowledged");
	p.syncs = (double)(metric_get(METRIC_syncs_total) - syncs) / n;
	p.commits = (double)(metric_get(METRIC_commits_total) - commits) / n;
	told = metric_get(METRIC_sightings_total);
	service_drain(w->svc); /* the next pass begins with idle workers */
	p.hunt_syncs = (double)(metric_get(METRIC_syncs_total) - syncs) / n;
	p.per_s = n / r.seconds;
	p.p50_us = r.p50_us;
	p.p99_us = r.p99_us;
	p.cpu_us = r.process_s * 1e6 / n;
	p.client = r.client_s / r.seconds;
	fprintf(stderr,
		"uploads %-8s %2u clients: %6.0f/s p50 %6.2f ms p99 %6.2f ms, %.3f syncs and %.3f "
		"commits an upload (%.3f syncs with all hunting), server %4.0f us an upload, "
		"client %.0f %% of a processor, %lld told so far\n",
		what, clients, p.per_s, p.p50_us / 1000, p.p99_us / 1000, p.syncs, p.commits,
		p.hunt_syncs, p.cpu_us, 100 * p.client, (long long)told);
	return p;
}

struct upload_figures {
	double ratio[PASSES_MAX], durable[PASSES_MAX], loose[PASSES_MAX], p50[PASSES_MAX],
		p99[PASSES_MAX], syncs[PASSES_MAX], hunt_syncs[PASSES_MAX], client[PASSES_MAX];
};

static void passes(const struct settings *s, const struct world *durable, const struct world *loose,
		   unsigned clients, struct upload_figures *f)
{
	for (unsigned i = 0; i < s->passes; i++) {
		uint64_t seed = (uint64_t)now_us() << 8;
		struct upload_pass a = measure(durable, clients, s->ms, seed, "durable");
		struct upload_pass b = measure(loose, clients, s->ms, seed + 1, "no syncs");

		f->ratio[i] = a.per_s / b.per_s;
		f->durable[i] = a.per_s;
		f->loose[i] = b.per_s;
		f->p50[i] = a.p50_us / 1000;
		f->p99[i] = a.p99_us / 1000;
		f->syncs[i] = a.syncs;
		f->hunt_syncs[i] = a.hunt_syncs;
		f->client[i] = a.client > b.client ? a.client : b.client;
	}
}

void bench_uploads(const struct settings *s, struct buf *line)
{
	struct world durable, loose;
	struct upload_figures f, one;
	char folder[4000];
	unsigned n = s->passes;

	snprintf(folder, sizeof folder, "%s/bench-uploads-XXXXXX", s->folder);
	if (!mkdtemp(folder))
		die(folder, "cannot be made");
	server_open(&durable, folder, "durable", false);
	server_open(&loose, folder, "loose", true);
	passes(s, &durable, &loose, CLIENTS, &f);
	passes(s, &durable, &loose, 1, &one);
	world_close(&durable);
	world_close(&loose);
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	buf_addf(line,
		 " uploads_ratio=%.2f uploads_per_s=%.0f no_sync_per_s=%.0f uploads_p50_ms=%.1f "
		 "uploads_p99_ms=%.1f syncs_per_upload=%.3f syncs_with_hunting=%.3f "
		 "uploads_client=%.2f",
		 quantile(f.ratio, n, 0.5), quantile(f.durable, n, 0.5), quantile(f.loose, n, 0.5),
		 quantile(f.p50, n, 0.5), quantile(f.p99, n, 0.5), quantile(f.syncs, n, 0.5),
		 quantile(f.hunt_syncs, n, 0.5), quantile(f.client, n, 0.5));
	buf_addf(line,
		 " one_client_per_s=%.0f one_client_ratio=%.2f one_client_p50_ms=%.1f "
		 "one_client_p99_ms=%.1f one_client_syncs=%.2f",
		 quantile(one.durable, n, 0.5), quantile(one.ratio, n, 0.5),
		 quantile(one.p50, n, 0.5), quantile(one.p99, n, 0.5), quantile(one.syncs, n, 0.5));
}
