#ifndef SERVICE_FILE_LISTS_H
#define SERVICE_FILE_LISTS_H
#include "service/files.h"

/* What a sample has many of, newest first. These read the database: not on an HTTP loop. */

/* Where a list goes on, and how much of it. */
struct list_range {
	int64_t before_id; /* entries with smaller ids; 0: from the newest */
	uint32_t limit;
	bool count; /* fill total, too */
};

enum {
	SOURCE_KEY_CHARS = 8,
	SUBMISSION_ID_CHARS = 2 + 64 + 1 + 20
};

/* One arrival of a sample. */
struct submission {
	int64_t id;
	uint8_t sha256[SHA256_BYTES];
	int64_t date_s;
	struct str name; /* may be empty */
	struct str interface;
	char source_key[SOURCE_KEY_CHARS + 1]; /* who sent it, the same for all of his */
};
struct submission_page {
	struct submission *rows; /* in the arena */
	size_t count;
	bool more;
	int64_t total; /* -1: not counted */
};
MUST_USE int file_submissions_read(struct service *svc, int64_t file_id,
				   const struct list_range *range, struct arena *arena,
				   struct submission_page *ret, struct err *err);

/* "f-<sha256>-<number>". ERR_INVALID: no such id; ERR_NOT_FOUND. By key: may be on a loop. */
MUST_USE int submission_by_id(struct service *svc, struct str id, struct arena *arena,
			      struct submission *ret, struct err *err);
void submission_id_format(const struct submission *s, char ret[SUBMISSION_ID_CHARS + 1]);

/* Eight hex digits that stand for a user (0: the operator) without naming him. */
void source_key_format(int64_t user_id, char ret[SOURCE_KEY_CHARS + 1]);

struct analysis_page {
	struct analysis_info *rows;
	size_t count;
	bool more;
	int64_t total;
};
MUST_USE int file_analyses_read(struct service *svc, int64_t file_id,
				const struct list_range *range, struct arena *arena,
				struct analysis_page *ret, struct err *err);
#endif
