#ifndef SERVICE_VERIFY_H
#define SERVICE_VERIFY_H
#include "service/service.h"
#include "service/task.h"

/*
 * Check everything stored, while everything else goes on: what comes or goes
 * meanwhile is no finding.
 *
 *   database  its structure and foreign keys
 *   packs     every record's structure, checksum and SHA-256; that erased ones are zeros
 *   files     every file's bytes are where its row says
 *   index     every page of every segment; that it has each file of its range, as its row says
 *   verify.def  numbers kept beside what they count, stored JSON
 *
 * Bytes that belong to no file are told apart: an upload leaves them whose commit
 * failed, or that came second with the same sample. They are no damage, and
 * `reclaim` erases them and gives their blocks back.
 */
struct verify_options {
	bool reclaim;
};

enum {
	VERIFY_LOOSE_MAX = 1 << 20 /* records of no file that one run notes; 48 MB */
};

struct verify_result {
	uint64_t records;
	uint64_t loose; /* records of no file */
	uint64_t loose_bytes;
	uint64_t reclaimed; /* of those, erased now */
};

/*
 * Findings go to the task; records of no file as the check "loose", which does not
 * count as one. Reads at most task->rate. Errors: ERR_CLOSED: the task was
 * stopped; ERR_IO and the like where looking itself fails.
 */
MUST_USE int service_verify(struct service *svc, const struct verify_options *options,
			    struct task *task, struct verify_result *ret, struct err *err);
#endif
