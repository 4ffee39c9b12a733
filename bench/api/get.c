#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "api/bare.h"
#include "api/load.h"
#include "api/parts.h"
#include "api/world.h"
#include "base/mem.h"
#include "base/rand.h"

enum {
	CONNECTIONS = 32,
	LOOPS = 1, /* what one loop does is what counts; the generator has the other processor */
	REQUEST_BYTES = 320,
};

/* Every request ready to be sent: the generator only copies. */
struct requests {
	struct rand_seq rand;
	char (*texts)[REQUEST_BYTES];
};

static void request_any(struct buf *out, void *arg)
{
	struct requests *r = arg;

	buf_add_z(out, r->texts[rand_below(&r->rand, WORLD_FILES)]);
}

static void requests_make(struct requests *r, const struct world *w)
{
	void *texts;
	struct err err;

	must(mem_try_array(&texts, WORLD_FILES, sizeof *r->texts, &err), "requests", &err);
	r->texts = texts;
	r->rand.state = 7;
	for (unsigned i = 0; i < WORLD_FILES; i++) {
		char hex[65], path[100];
		struct buf text = BUF_INIT(REQUEST_BYTES - 1);

		world_file_id(i, hex);
		snprintf(path, sizeof path, "/api/v3/files/%s", hex);
		world_request(w, &text, "GET", str_of(path));
		buf_add_z(&text, "\r\n");
		must(buf_check(&text, "request", &err), "requests", &err);
		snprintf(r->texts[i], REQUEST_BYTES, "%s", text.p);
		buf_release(&text);
	}
}

/* The server on all processors but the last, which is the generator's. */
static int split_processors(cpu_set_t *ret_before)
{
	int n = (int)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	sched_getaffinity(0, sizeof *ret_before, ret_before);
	if (n < 2)
		return -1;
	set = *ret_before;
	CPU_CLR((unsigned)(n - 1), &set);
	sched_setaffinity(0, sizeof set, &set);
	return n - 1;
}

struct get_pass {
	double per_s[PASSES_MAX];
	double cpu_us[PASSES_MAX]; /* of the server, a request */
	double p50_us[PASSES_MAX];
	double p99_us[PASSES_MAX];
	double client[PASSES_MAX]; /* share of its processor */
};

static void measure(struct get_pass *p, unsigned i, const struct load *load, const char *what)
{
	struct load_result r = load_run(load);

	p->per_s[i] = (double)r.answers / r.seconds;
	p->cpu_us[i] = r.process_s * 1e6 / (double)r.answers;
	p->p50_us[i] = r.p50_us;
	p->p99_us[i] = r.p99_us;
	p->client[i] = r.client_s / r.seconds;
	fprintf(stderr,
		"get %2u %-5s %8.0f/s p50 %5.0f us p99 %6.0f us, server %5.2f us a request, "
		"client %.0f %% of a processor, %llu bytes\n",
		i + 1, what, p->per_s[i], r.p50_us, r.p99_us, p->cpu_us[i], 100 * p->client[i],
		(unsigned long long)r.body_bytes);
}

static void report(struct get_pass *bare, struct get_pass *weir, unsigned n, struct buf *line)
{
	double ratio[PASSES_MAX], cpu[PASSES_MAX];

	for (unsigned i = 0; i < n; i++) {
		ratio[i] = weir->per_s[i] / bare->per_s[i];
		cpu[i] = bare->cpu_us[i] / weir->cpu_us[i];
	}
	buf_addf(line, " get_ratio=%.2f get_cpu_ratio=%.2f", quantile(ratio, n, 0.5),
		 quantile(cpu, n, 0.5));
	buf_addf(line, " get_per_s=%.0f get_cpu_us=%.1f get_p50_us=%.0f get_p99_us=%.0f",
		 quantile(weir->per_s, n, 0.5), quantile(weir->cpu_us, n, 0.5),
		 quantile(weir->p50_us, n, 0.5), quantile(weir->p99_us, n, 0.5));
	buf_addf(line, " bare_per_s=%.0f bare_cpu_us=%.1f bare_p99_us=%.0f get_client=%.2f",
		 quantile(bare->per_s, n, 0.5), quantile(bare->cpu_us, n, 0.5),
		 quantile(bare->p99_us, n, 0.5), quantile(bare->client, n, 0.5));
}

void bench_get(const struct settings *s, struct buf *line)
{
	struct world_options options = { .loops = LOOPS };
	struct load load = { .connections = CONNECTIONS, .status = 200, .ms = s->ms };
	struct get_pass weir, plain;
	struct requests requests;
	struct client client;
	char path[4096];
	struct world w;
	struct bare *bare;
	cpu_set_t before;

	world_data(path, sizeof path);
	load.cpu = split_processors(&before); /* before the servers' threads begin */
	options.data = path;
	world_open(&w, &options);
	requests_make(&requests, &w);
	client_open(&client, w.port);
	bare = bare_open(client_ask(&client, str_of(requests.texts[0]), 200), LOOPS,
			 2 * CONNECTIONS);
	client_close(&client);
	load.request = request_any;
	load.arg = &requests;
	for (unsigned i = 0; i < s->passes; i++) {
		load.port = bare_port(bare);
		measure(&plain, i, &load, "bare");
		load.port = w.port;
		measure(&weir, i, &load, "weir");
	}
	report(&plain, &weir, s->passes, line);
	bare_close(bare);
	world_close(&w);
	sched_setaffinity(0, sizeof before, &before);
	mem_drop(&requests.texts);
}
