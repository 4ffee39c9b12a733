#ifndef SERVICE_INSIDE_H
#define SERVICE_INSIDE_H
#include "base/buf.h"
#include "service/files.h"
#include "store/meta_bundle.h"

/*
 * Rows of files that were found inside containers. They are files of their own: stored
 * once, analysed for each container that brings them, with the names they had there. They
 * are nobody's submissions: times_submitted and unique_sources count what was sent.
 */
enum {
	SETTLED_BYTES_MAX = SHA256_BYTES * 512 * 1024
};

struct inside_file {
	const struct upload_inside *inside;
	const struct hashes *hashes;
	uint64_t size;
	struct pack_locator at; /* of the bytes, where file_id is 0 */
	struct str corpus;
	struct str name; /* the last part of its path */
	enum write_lane lane;
};
/*
 * On the writer's connection. file_id: 0 if it is not stored yet. ERR_TOO_LARGE: it goes
 * over what one root may bring; nothing of it is kept then. ERR_NOT_FOUND: the container
 * was removed meanwhile.
 */
MUST_USE int inside_apply(struct sql_conn *conn, const struct inside_file *file, int64_t file_id,
			  int64_t now_s, struct arena *arena, struct err *err);

/* Remove a file's rows with its places in containers; see file_row_remove, bundle_settle. */
MUST_USE int inside_remove(struct sql_conn *conn, const struct file_row *row, int64_t now_s,
			   int64_t *ret_erase_id, struct buf *settled, struct err *err);
/* Their reports changed: forget what is cached. After the commit. */
void settled_drop(struct service *svc, const struct buf *settled);
#endif
