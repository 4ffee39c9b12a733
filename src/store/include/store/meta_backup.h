#ifndef STORE_META_BACKUP_H
#define STORE_META_BACKUP_H
#include "store/meta_file.h"

/*
 * What a backup asks of a snapshot of the database, and what it changes there.
 * The snapshot is a database of its own that nobody else uses.
 */
enum {
	FOLDER_ID_CHARS = 32
};
/* The data folder's own name, random, kept in its database; "" if it has none yet. */
MUST_USE int folder_id_get(struct sql_conn *conn, char ret[FOLDER_ID_CHARS + 1], struct err *err);
/* NULL takes it away: the next backup gives another. */
MUST_USE int folder_id_set(struct sql_conn *conn, const char *id, struct err *err);

/* What a database needs of a pack. */
struct pack_need {
	uint32_t pack; /* 0: there is no further one */
	uint64_t samples;
	uint64_t end; /* of the last sample's record */
	bool erasing; /* bytes of a removed sample may still be there */
};
/* The first pack after `after` that holds samples. Cost: its samples' index entries. */
MUST_USE int pack_need_next(struct sql_conn *conn, uint32_t after, struct pack_need *ret,
			    struct err *err);

/* The samples of one pack by rising offset. */
struct pack_rows {
	struct sql_query q;
	uint32_t pack;
	/* the present one; id 0: there is no further one */
	int64_t id;
	uint64_t offset;
	uint64_t size;
	uint8_t sha256[SHA256_BYTES];
};
MUST_USE int pack_rows_start(struct pack_rows *ret, struct sql_conn *conn, uint32_t pack,
			     struct err *err);
MUST_USE int pack_rows_next(struct pack_rows *r, struct err *err);
void pack_rows_end(struct pack_rows *r); /* fine on a zeroed one */

/*
 * Take samples out of the snapshot by `remove`, and forget all erasures that were
 * still to be done: the copied packs are without those bytes. So are the segments of
 * the index forgotten: they are not copied. One transaction.
 */
MUST_USE int snapshot_finish(struct sql_conn *conn, const int64_t *gone, size_t n,
			     int (*remove)(struct sql_conn *conn, const struct file_row *row,
					   void *arg, struct err *err),
			     void *arg, struct err *err);
#endif
