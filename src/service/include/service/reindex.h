#ifndef SERVICE_REINDEX_H
#define SERVICE_REINDEX_H
#include "service/service.h"
#include "service/task.h"

/*
 * Have segments of the corpus index built anew from the packs, and wait until they are.
 * What is to be built anew is noted in the database first: it is done in the background,
 * also when the task is stopped or the server restarts. Meanwhile the old ones answer.
 */
struct reindex_options {
	int64_t segment; /* this one alone; 0: all there are */
	/*
	 * Examine the samples that have no features yet, or older ones than this program
	 * extracts, and build those segments anew that do not know them. A sample on which that
	 * fails is a finding of the task, and tried again by the next call.
	 */
	bool features;
};
struct reindex_result {
	uint64_t segments; /* that were built anew */
	uint64_t sample_bytes;
	uint64_t files; /* that got features */
	uint64_t failed_files;
};
/*
 * Errors: ERR_INVALID: the server has no index (setting `index`); ERR_NOT_FOUND: there is no such
 * segment; ERR_CLOSED: the task was stopped (with `features`, the next call goes on there); ERR_IO:
 * building failed (it is tried again in the background).
 */
MUST_USE int service_reindex(struct service *svc, const struct reindex_options *options,
			     struct task *task, struct reindex_result *ret, struct err *err);
#endif
