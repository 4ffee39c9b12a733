#include "livehunt.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/metric.h"
#include "service/rulesets.h"
#include "service/users.h"

/* ---- weir ---- */

struct service *weir_open(const struct bench *b, unsigned workers)
{
	struct service_options options = service_options_default(b->data_dir);
	struct service *svc;
	struct err err;

	options.workers = workers;
	must(service_open(&svc, &options, &err), "opening the service", &err);
	return svc;
}

void flight_init(struct flight *f)
{
	*f = (struct flight){ .under_way = 0 };
	lock_init(&f->lock, LOCK_TEST);
	cond_init(&f->moved);
}

void flight_begin(struct flight *f, size_t max)
{
	lock_take(&f->lock);
	while (f->under_way >= max)
		cond_wait(&f->moved, &f->lock);
	f->under_way++;
	lock_drop(&f->lock);
}

void flight_end(struct flight *f, int rc)
{
	lock_take(&f->lock);
	f->under_way--;
	f->failed += rc != 0;
	cond_broadcast(&f->moved);
	lock_drop(&f->lock);
}

void flight_wait(struct flight *f, const char *what)
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

void weir_upload(struct service *svc, const uint8_t *p, size_t n, enum write_lane lane,
		 struct flight *f)
{
	const struct upload_options options = {
		.lane = lane, .corpus = STR("main"), .interface = "ingest", .bytes_max = 64 << 20
	};
	struct upload *u;
	struct err err;

	flight_begin(f, 256);
	must(upload_new(&u, svc, &options, &err), "upload", &err);
	must(upload_add(u, p, n, &err), "upload", &err);
	must(upload_finish(u, upload_over, f, &err), "upload", &err);
}

static void upload_corpus(const struct bench *b, struct service *svc)
{
	struct flight f;
	uint8_t *buf = NULL;
	size_t cap = 0;

	flight_init(&f);
	for (size_t i = 0; i < b->corpus.n; i++) {
		size_t n = read_whole(b->corpus.names[i], &buf, &cap);

		weir_upload(svc, buf, n, LANE_BULK, &f);
	}
	flight_wait(&f, "storing");
	free(buf);
}

void weir_store(const struct bench *b)
{
	struct service *svc = weir_open(b, b->threads);

	upload_corpus(b, svc);
	service_drain(svc); /* identified */
	service_close(svc);
}

double weir_rulesets(const struct bench *b)
{
	struct service *svc = weir_open(b, 0);
	char key[USER_KEY_CHARS + 1];
	struct user owner;
	struct flight f;
	uint8_t *buf = NULL;
	size_t cap = 0;
	int64_t start;
	struct err err;

	must(user_add(svc, STR("hunter"), ROLE_HUNTER, STR(""), NULL, key, &err), "user", &err);
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
void weir_queue(const struct bench *b)
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
		must(file_reanalyse(svc, &file, NULL, upload_over, &f, &err), "queue", &err);
	}
	flight_wait(&f, "queueing");
	service_close(svc);
	free(buf);
}

static void pass_begin(struct weir_pass *p)
{
	metric_set(METRIC_live_rules, 0);
	p->sightings = -metric_get(METRIC_sightings_total);
	p->scan_us = -metric_get(METRIC_scan_us_total);
	p->commits = -metric_get(METRIC_commits_total);
}

static void pass_end(struct weir_pass *p)
{
	p->sightings += metric_get(METRIC_sightings_total);
	p->scan_us += metric_get(METRIC_scan_us_total);
	p->commits += metric_get(METRIC_commits_total);
}

static struct service *open_live(const struct bench *b, struct weir_pass *p)
{
	int64_t opened = now_us();
	struct service *svc;

	pass_begin(p);
	svc = weir_open(b, b->threads);
	while (metric_get(METRIC_live_rules) == 0)
		usleep(500);
	p->start_us = now_us() - opened;
	return svc;
}

struct weir_pass weir_hunt(const struct bench *b)
{
	struct weir_pass p;
	struct service *svc = open_live(b, &p);
	int64_t start = now_us();

	service_drain(svc);
	p.us = now_us() - start;
	pass_end(&p);
	service_close(svc);
	return p;
}

struct weir_pass weir_whole_path(const struct bench *b)
{
	struct weir_pass p;
	struct service *svc = open_live(b, &p);
	int64_t start = now_us();

	upload_corpus(b, svc);
	service_drain(svc);
	p.us = now_us() - start;
	pass_end(&p);
	service_close(svc);
	return p;
}

void weir_empty(const struct bench *b)
{
	struct service *svc = weir_open(b, 0);
	struct write_req forget = { .apply = forget_apply };
	uint8_t *buf = NULL;
	size_t cap = 0;
	struct err err;

	must(writer_call(service_writer(svc), &forget, &err), "forgetting", &err);
	for (size_t i = 0; i < b->corpus.n; i++) {
		size_t n = read_whole(b->corpus.names[i], &buf, &cap);
		char hex[2 * SHA256_BYTES + 1];
		uint8_t sha256[SHA256_BYTES];

		sha256_of(buf, n, sha256);
		hex_encode(sha256, sizeof sha256, hex);
		must(file_remove(svc, str_of(hex), NULL, NULL, &err), "removing", &err);
	}
	service_close(svc);
	free(buf);
}
