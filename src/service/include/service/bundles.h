#ifndef SERVICE_BUNDLES_H
#define SERVICE_BUNDLES_H
#include "base/hash.h"
#include "service/service.h"

/* Which files are inside which, as analyses found them. Reads; any thread. */
struct bundle_ask {
	int64_t file_id;
	bool inside;      /* what is inside the file; else what it is inside of */
	int64_t after_id; /* behind this row; 0: from the start */
	uint32_t limit;
	bool count; /* the total, too */
};
struct bundled_file {
	int64_t id; /* position in the list; grows in the order they were found */
	uint8_t sha256[SHA256_BYTES];
	struct str name; /* its path in the container, cleaned; one of them if it has several */
};
struct bundled_page {
	struct bundled_file *rows; /* in the arena; each file once */
	size_t count;
	bool more;
	int64_t total; /* -1: not counted */
};
MUST_USE int bundled_read(struct service *svc, const struct bundle_ask *ask, struct arena *arena,
			  struct bundled_page *ret, struct err *err);
#endif
