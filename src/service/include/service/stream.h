#ifndef SERVICE_STREAM_H
#define SERVICE_STREAM_H
/*
 * The IoC Stream of a user is read through store/stream.h on a reader connection
 * (service_db); what changes it goes through here.
 */
#include "service/audit.h"
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

/* What a client asked for; see GET /ioc_stream. Strings with p NULL were not given. */
struct stream_request {
	int64_t owner_id;
	struct str filter;
	struct str cursor;
	uint32_t limit;
	bool has_limit;
	bool has_order;
	bool oldest_first;
	bool has_descriptors_only;
	bool descriptors_only;
};

struct stream_answer {
	struct stream_entry *entries;
	size_t count;
	struct str *reports; /* by entry: attributes as JSON, empty if the entity is gone; NULL for
				descriptors */
	uint64_t total;      /* all that match; counted on the first page, carried in the cursor */
	struct str next;     /* cursor of the next page; empty on the last */
	struct str
		self; /* cursor of this page where none was asked for and it needs one, or empty */
	/* as they hold, the cursor considered */
	struct str filter;
	uint32_t limit;
	bool oldest_first;
	bool descriptors_only;
};

/*
 * One page. A cursor alone is enough; filter and order given beside it must be
 * its own. Reads of one moment; may take milliseconds (a count more): not on an
 * HTTP loop. ERR_INVALID: filter or cursor, with a text for the client.
 */
MUST_USE int stream_read(struct service *svc, const struct stream_request *ask, struct arena *arena,
			 struct stream_answer *ret, struct err *err);

/* One notification. ERR_NOT_FOUND: unknown, deleted, somebody else's. */
MUST_USE int stream_find(struct service *svc, int64_t owner_id, int64_t seq, struct arena *arena,
			 struct stream_entry *ret, struct err *err);

/*
 * Delete one notification; blocks. `by`: for the audit log, NULL is the server
 * itself. ERR_NOT_FOUND: unknown or somebody else's.
 */
MUST_USE int stream_remove(struct service *svc, int64_t owner_id, int64_t seq,
			   const struct audit_by *by, struct err *err);

/*
 * Delete all that the filter matches now ("" is everything). Holds at once when
 * read, worked off in the background. ERR_BUSY: one is under way already.
 */
MUST_USE int stream_remove_matching(struct service *svc, int64_t owner_id, struct str filter,
				    const struct audit_by *by, struct err *err);
#endif
