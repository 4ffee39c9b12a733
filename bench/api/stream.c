#include <sched.h>
#include <stdio.h>

#include "api/load.h"
#include "api/parts.h"
#include "api/world.h"
#include "base/metric.h"

enum {
	FIRST_PAGES = 60, /* a filter: enough for a 99th percentile to be more than the worst */
	NEXT_PAGES = 300,
	BUDGET_US = 2500 * 1000, /* a filter and kind of page */
};

static const struct {
	const char *text;
	bool is_judged;
} filters[] = {
	{ "", true },
	{ "date:3d+", true },
	{ "date:2025-06-01", true },
	{ "origin:hunting", true },
	{ "origin:subscriptions", true },
	{ "entity_type:file", true },
	{ "entity_type:ip_address", true },
	{ "entity_id:host777777.example", true },
	{ "source_type:hunting_ruleset", true },
	{ "source_type:retrohunt_job", true },
	{ "source_id:28", true },
	{ "notification_tag:malware", true },
	{ "tag:rule_999_0", true },
	{ "tag:family_5*", true },
	{ "source_name:watch", true },
	{ "Kimsuky", true },
	{ "date:3d+ entity_type:url source_type:collection", true },
	{ "date:7d+ (entity_type:url OR entity_type:domain OR entity_type:ip_address) "
	  "source_type:threat_actor \"Kimsuky\"",
	  true },
	{ "date:1d+ entity_type:file origin:hunting", true },
	{ "tag:family_1 OR source_id:500", true },
	{ "NOT tag:rule_1_0", true },
	{ "date:2025-04-01+ date:2025-05-01- tag:malware", true },
	{ "Loader entity_type:file NOT date:30d+", true },
	{ "NOT tag:malware", false }, /* the worst known: docs/design/0004-stream-reads.md */
};

/* One kind of page of one filter. */
struct pages {
	double us[NEXT_PAGES];     /* at the server: http_done.us */
	double cpu_us[NEXT_PAGES]; /* of the server's threads */
	size_t n;
};

static void escape(struct buf *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
			buf_add_c(out, (char)c);
		else
			buf_addf(out, "%%%02X", c);
	}
}

/* Asks and notes what it took there. The connection is the only one. */
static struct str ask(struct client *c, const struct world *w, struct str path, struct pages *to)
{
	struct buf request = BUF_INIT(64 * 1024);
	int64_t us = metric_get(METRIC_http_us_total);
	int64_t answered = metric_get(METRIC_http_requests_total);
	double cpu = process_cpu_s() - thread_cpu_s();
	struct str body;

	world_request(w, &request, "GET", path);
	buf_add_z(&request, "\r\n");
	body = client_ask(c, buf_str(&request), 200);
	/* It is counted just after the last byte was sent. */
	while (metric_get(METRIC_http_requests_total) == answered)
		sched_yield();
	to->us[to->n] = (double)(metric_get(METRIC_http_us_total) - us);
	to->cpu_us[to->n++] = (process_cpu_s() - thread_cpu_s() - cpu) * 1e6;
	buf_release(&request);
	return body;
}

static struct str json_text(struct str body, const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 0; i + n < body.n; i++)
		if (memcmp(body.p + i, key, n) == 0) {
			struct str rest = str_make(body.p + i + n, body.n - i - n);

			return str_make(rest.p, str_find(rest, '"'));
		}
	return str_make("", 0);
}

static void first_path(struct buf *path, const char *filter)
{
	buf_reset(path);
	buf_add_z(path, "/api/v3/ioc_stream?limit=40&descriptors_only=true");
	if (*filter) {
		buf_add_z(path, "&filter=");
		escape(path, filter);
	}
}

/* Whether there is a next page, whose path is left in `path`. */
static bool next_path(struct buf *path, struct str body)
{
	struct str cursor = json_text(body, "\"cursor\":\"");

	buf_reset(path);
	buf_add_z(path, "/api/v3/ioc_stream?cursor=");
	buf_add_str(path, cursor);
	return cursor.n > 0;
}

static void walk(struct client *c, const struct world *w, const char *filter, struct pages *first,
		 struct pages *next)
{
	struct buf path = BUF_INIT(64 * 1024);
	int64_t until = now_us() + BUDGET_US;
	struct str body;
	bool more = false;

	first->n = next->n = 0;
	first_path(&path, filter);
	(void)ask(c, w, buf_str(&path), first); /* statements are prepared, pages are in memory */
	first->n = 0;
	while (first->n < FIRST_PAGES && now_us() < until)
		(void)ask(c, w, buf_str(&path), first);
	for (until = now_us() + BUDGET_US; next->n < NEXT_PAGES && now_us() < until;) {
		struct pages unseen = { .n = 0 };

		if (!more) {
			first_path(&path, filter);
			body = ask(c, w, buf_str(&path), &unseen);
			if (!next_path(&path, body))
				break; /* one page is all */
		}
		body = ask(c, w, buf_str(&path), next);
		more = next_path(&path, body);
	}
	buf_release(&path);
}

struct worst {
	double us;
	const char *filter;
};

static void worst_of(struct worst *w, double us, const char *filter)
{
	if (us > w->us)
		*w = (struct worst){ us, filter };
}

struct figures {
	double first50, first99, first_cpu, next50, next99, next_cpu, next_cpu99;
};

static struct figures figures_of(struct pages *first, struct pages *next)
{
	return (struct figures){
		.first50 = quantile(first->us, first->n, 0.5),
		.first99 = quantile(first->us, first->n, 0.99),
		.first_cpu = quantile(first->cpu_us, first->n, 0.5),
		.next50 = quantile(next->us, next->n, 0.5),
		.next99 = quantile(next->us, next->n, 0.99),
		.next_cpu = quantile(next->cpu_us, next->n, 0.5),
		.next_cpu99 = quantile(next->cpu_us, next->n, 0.99),
	};
}

void bench_stream(const struct settings *s, struct buf *line)
{
	struct worst next50 = { 0, "" }, next99 = { 0, "" }, cpu99 = { 0, "" }, count = { 0, "" };
	struct world_options options = { .loops = 1 };
	double plain50 = 0, plain99 = 0;
	struct client client;
	char path[4096];
	struct world w;

	(void)s;
	world_data(path, sizeof path);
	options.data = path;
	world_open(&w, &options);
	client_open(&client, w.port);
	fprintf(stderr,
		"us at the server (and of its processor): the first page with its count, "
		"then pages without\n%9s %9s %9s | %9s %9s %9s %9s %5s\n",
		"p50", "p99", "cpu p50", "p50", "p99", "cpu p50", "cpu p99", "pages");
	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
		struct pages first, next;
		struct figures f;

		walk(&client, &w, filters[i].text, &first, &next);
		f = figures_of(&first, &next);
		fprintf(stderr, "%9.0f %9.0f %9.0f | %9.0f %9.0f %9.0f %9.0f %5zu %s%s\n",
			f.first50, f.first99, f.first_cpu, f.next50, f.next99, f.next_cpu,
			f.next_cpu99, next.n, filters[i].is_judged ? "" : "(worst) ",
			filters[i].text);
		if (i == 0) {
			plain50 = f.next50;
			plain99 = f.next99;
		}
		if (!filters[i].is_judged)
			continue;
		worst_of(&next50, f.next50, filters[i].text);
		worst_of(&next99, f.next99, filters[i].text);
		worst_of(&cpu99, f.next_cpu99, filters[i].text);
		worst_of(&count, f.first_cpu, filters[i].text);
	}
	buf_addf(line, " page_p50_us=%.0f page_p99_us=%.0f", plain50, plain99);
	buf_addf(line,
		 " filter_p50_us_max=%.0f filter_p99_us_max=%.0f filter_cpu_p99_us_max=%.0f "
		 "count_cpu_ms_max=%.0f",
		 next50.us, next99.us, cpu99.us, count.us / 1000);
	fprintf(stderr, "slowest: p50 '%s', p99 '%s', with count '%s'\n", next50.filter,
		next99.filter, count.filter);
	client_close(&client);
	world_close(&w);
}
