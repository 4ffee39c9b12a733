#ifndef STORE_META_VERIFY_H
#define STORE_META_VERIFY_H
#include "store/sql.h"

/*
 * The checks of verify.def. To add one, add a row there.
 */
enum verify_check {
#define VERIFY(id, ...) VERIFY_##id,
#include "store/verify.def"
#undef VERIFY
	VERIFY_COUNT
};

struct verify_info {
	const char *name; /* "file.times_submitted" */
	const char *text; /* of a finding, with {}, {has} and {should} */
	int64_t per;      /* ids in one step; 0: all at once */
};
extern const struct verify_info verify_infos[VERIFY_COUNT];

/* The highest id that the check is about; 1 for one that is done at once. */
MUST_USE int verify_last(struct sql_conn *conn, enum verify_check check, int64_t *ret,
			 struct err *err);
/*
 * Look at the ids > after and <= last, or at all. `found` gets each finding as text.
 * One statement.
 */
MUST_USE int verify_find(struct sql_conn *conn, enum verify_check check, int64_t after,
			 int64_t last, void (*found)(const char *what, void *arg), void *arg,
			 struct err *err);
#endif
