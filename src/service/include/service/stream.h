#ifndef SERVICE_STREAM_H
#define SERVICE_STREAM_H
/*
 * The IoC Stream of a user is read through store/stream.h on a reader connection
 * (service_db); what changes it goes through here.
 */
#include "service/service.h"
#include "store/stream.h"

/*
 * What filters need from outside, on this connection: MD5 and SHA-1 of stored
 * samples become their SHA-256. Valid while svc and conn are.
 */
struct stream_env {
	struct filter_env env;
	struct service *svc;
	struct sql_conn *conn;
};
void stream_env_init(struct stream_env *ret, struct service *svc, struct sql_conn *conn,
		     int64_t now_s);
/* For stream_cursor: of this data folder, the same after a restart. */
uint64_t stream_cursor_key(const struct service *svc);

/* Delete one notification; blocks. ERR_NOT_FOUND: unknown or somebody else's. */
MUST_USE int stream_remove(struct service *svc, int64_t owner_id, int64_t seq, struct err *err);

/*
 * Delete all that the filter matches now ("" is everything). Holds at once when
 * read, worked off in the background. ERR_BUSY: one is under way already.
 */
MUST_USE int stream_remove_matching(struct service *svc, int64_t owner_id, struct str filter,
				    struct err *err);
#endif
