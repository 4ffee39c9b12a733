#ifndef SERVICE_REINDEX_INTERNAL_H
#define SERVICE_REINDEX_INTERNAL_H
#include "corpus_internal.h"
#include "service/reindex.h"

/* ---- reindex.c ---- */
/* Have a segment built anew; 0: all. ERR_NOT_FOUND. */
MUST_USE int reindex_mark(struct service *svc, int64_t segment, struct err *err);

/* ---- reindex_features.c ---- */
/*
 * Examine every sample that has no features of this version, and mark the segments that do
 * not know what the database does. Counts into ret->files and failed_files. ERR_CLOSED: it was
 * stopped, and goes on there.
 */
MUST_USE int reindex_features(struct service *svc, struct task *task, struct reindex_result *ret,
			      struct err *err);
#endif
