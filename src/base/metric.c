#include "base/metric.h"

#include <stdatomic.h>

#include "base/err.h"

enum metric_kind {
	METRIC_KIND_counter,
	METRIC_KIND_gauge
};

static const struct metric_row {
	const char *name;
	const char *kind_name;
	enum metric_kind kind;
	const char *help;
} rows[METRIC_COUNT] = {
#define METRIC(name, kind, unit, help) { #name, #kind, METRIC_KIND_##kind, help },
#include "base/metrics.def"
#undef METRIC
};

/*
 * Counters are spread over shards so that busy threads do not fight over one
 * cache line; a gauge is one cell of the first shard, as it can be set.
 * Relaxed order everywhere: a value says nothing about other memory.
 */
enum {
	METRIC_SHARDS = 16
};
static struct metric_shard {
	_Alignas(64) _Atomic int64_t v[METRIC_COUNT];
} shards[METRIC_SHARDS];

static _Atomic unsigned shard_next;

static struct metric_shard *my_shard(void)
{
	static _Thread_local struct metric_shard *mine;

	if (!mine) {
		unsigned i = atomic_fetch_add_explicit(&shard_next, 1, memory_order_relaxed);

		mine = &shards[i % METRIC_SHARDS];
	}
	return mine;
}

void metric_add(enum metric m, int64_t n)
{
	struct metric_shard *s;

	REQUIRE((unsigned)m < METRIC_COUNT);
	s = rows[m].kind == METRIC_KIND_gauge ? &shards[0] : my_shard();
	atomic_fetch_add_explicit(&s->v[m], n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t v)
{
	REQUIRE((unsigned)m < METRIC_COUNT);
	REQUIRE(rows[m].kind == METRIC_KIND_gauge);
	atomic_store_explicit(&shards[0].v[m], v, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
	int64_t sum = 0;

	REQUIRE((unsigned)m < METRIC_COUNT);
	for (unsigned i = 0; i < METRIC_SHARDS; i++)
		sum += atomic_load_explicit(&shards[i].v[m], memory_order_relaxed);
	return sum;
}

void metric_render(struct buf *out)
{
	for (unsigned m = 0; m < METRIC_COUNT; m++) {
		buf_addf(out, "# HELP weir_%s %s\n# TYPE weir_%s %s\nweir_%s ", rows[m].name,
			 rows[m].help, rows[m].name, rows[m].kind_name, rows[m].name);
		buf_add_i64(out, metric_get((enum metric)m));
		buf_add_c(out, '\n');
	}
}
