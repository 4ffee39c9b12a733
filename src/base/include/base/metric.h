#ifndef BASE_METRIC_H
#define BASE_METRIC_H
#include <stdint.h>
#include "base/buf.h"

/*
 * Counters and gauges of metrics.def, shown at /metrics in Prometheus' text
 * format. Any thread, wait-free.
 */
enum metric {
#define METRIC(name, kind, unit, help) METRIC_##name,
#include "base/metrics.def"
#undef METRIC
	METRIC_COUNT
};

void metric_add(enum metric m, int64_t n);
void metric_set(enum metric m, int64_t v); /* gauges only */
int64_t metric_get(enum metric m);
void metric_render(struct buf *out); /* Prometheus text, version 0.0.4 */
#endif
