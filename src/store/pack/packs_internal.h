#ifndef STORE_PACKS_INTERNAL_H
#define STORE_PACKS_INTERNAL_H
#include "base/thread.h"
#include "format_internal.h"
#include "store/pack.h"

enum {
	PACK_NAME_BYTES = 32,    /* "packs/0000000001.pack" and temporary names */
	PACK_FILES_CACHED = 512, /* descriptors kept open for reading */
	PACK_FILES_BUCKETS = 1024,
	PACK_COPY_BYTES = 256 * 1024,    /* pieces in which files are copied and zeroed */
	PACK_WINDOW_BYTES = 1024 * 1024, /* read ahead while walking */
	PACK_SPACE_MS = 1000,            /* the free space is asked for this often at least … */
	PACK_SPACE_BYTES = 64 * 1024 * 1024, /* … and after so many bytes */
};

/* An append that is written and waits for those before it. On its thread's stack. */
struct pack_turn {
	struct pack_turn *next;
	uint64_t offset;
	struct cond come; /* done reached offset, or the pack was cut at or before it */
};

/* A pack that is not sealed. All but id and f are guarded by packs.lock. */
struct pack_open {
	struct pack_open *next;
	struct pack_id id;
	struct io_file *f;       /* owned */
	uint64_t reserved;       /* where the next record will begin */
	uint64_t done;           /* whole records up to here */
	uint64_t synced;         /* durable up to here */
	uint64_t cut;            /* a write failed here; UINT64_MAX: none did */
	uint32_t writing;        /* reserved and not yet done or given up */
	struct pack_turn *turns; /* few: no more than threads that append */
	bool closed;             /* takes no more records */
	bool left;               /* sealing failed: the next packs_open does it */
	struct pack_chain chain; /* over the records below done */
};

struct packs {
	struct io *io;
	struct packs_options options;

	struct lock lock;
	struct cond changed;       /* a pack was made, or a round ended. `lock` guards: */
	struct pack_open *list;    /* owned; oldest first */
	struct pack_open *current; /* in list; NULL: the next append makes one */
	uint32_t next_number;
	uint32_t next_temp;
	bool creating;
	uint64_t changes;        /* appends and new names, ever */
	uint64_t changes_synced; /* of which durable */
	bool names_changed;      /* the folder needs a sync */
	bool round_running;
	bool lost; /* a sync failed: see packs.c, invariant 5 */
	struct err lost_err;
	int64_t space_asked_us;
	uint64_t space_left; /* may be appended before asking again */

	struct lock erasing;    /* held from an erasure's mark to its last zero */
	struct lock files_lock; /* guards the open files for reading: */
	struct pack_file *buckets[PACK_FILES_BUCKETS];
	struct pack_file *idle_first; /* unused longest */
	struct pack_file *idle_last;
	uint32_t files;
};

/* Where a record's bytes come from: memory, or a file of ours. */
struct pack_source {
	const void *data;
	const struct io_file *f; /* when data is NULL */
	uint64_t offset;
};

void pack_name(char out[PACK_NAME_BYTES], uint32_t number);
void pack_temp_name(char out[PACK_NAME_BYTES], uint32_t number);
MUST_USE int packs_append_from(struct packs *p, const struct record_header *h,
			       const struct pack_source *from, struct pack_locator *ret,
			       struct err *err);
/* ERR_NO_SPACE when n more bytes would eat into the reserve. */
MUST_USE int packs_space(struct packs *p, uint64_t n, struct err *err);
/* Fails with the error of the sync that failed, if one did. */
MUST_USE int packs_lost_locked(struct packs *p, struct err *err) MUST_HOLD(p->lock);

/* Footer, sync, mark; or unlink, if the pack holds nothing. What was acknowledged needs none of it.
 */
MUST_USE int pack_seal(struct packs *p, struct pack_open *o, struct err *err);
void pack_open_free(struct packs *p, struct pack_open *o);

MUST_USE int packs_recover(struct packs *p, struct err *err);
/* Numbers of the packs on disk, rising. free(*ret). Removes temporary files if told to. */
MUST_USE int packs_list(struct packs *p, bool remove_temps, uint32_t **ret, size_t *ret_n,
			struct err *err);
void pack_files_release(struct packs *p);
/* Is a record of that length there, and its header whole? ERR_CORRUPT. */
MUST_USE int pack_record_check(const struct io_file *f, const struct pack_locator *at,
			       struct record_header *ret, struct err *err);

/* A piece of a file in memory. */
struct window {
	const struct io_file *f;
	uint8_t *buf; /* owned, PACK_WINDOW_BYTES */
	uint64_t at;
	size_t n;
	uint64_t end; /* never read beyond */
};
MUST_USE int window_init(struct window *w, const struct io_file *f, uint64_t end, struct err *err);
void window_release(struct window *w);
/* n bytes at offset, inside end; n at most PACK_WINDOW_BYTES. Valid until the next call. */
MUST_USE int window_get(struct window *w, uint64_t offset, size_t n, const uint8_t **ret,
			struct err *err);

/* Going through a pack from record to record, whatever its bytes are. */
struct pack_scan {
	struct window w;
	struct pack_id id;
	uint64_t at;
	bool check_bytes;  /* checksum of the bytes */
	bool check_sha256; /* and their name */
	struct hasher *hasher;
};
struct pack_step {
	uint64_t offset; /* of the record's header */
	uint64_t span;
	bool has_header;
	struct record_header h; /* if it has one */
	const char *what;       /* NULL: fine */
	bool short_;            /* the record goes on beyond the end */
};
MUST_USE int pack_scan_init(struct pack_scan *s, const struct io_file *f, const struct pack_id *id,
			    uint64_t end, struct err *err);
void pack_scan_release(struct pack_scan *s);
/* The record at s->at, or what stands there instead; *ret_end: there is nothing more. */
MUST_USE int pack_scan_next(struct pack_scan *s, struct pack_step *ret, bool *ret_end,
			    struct err *err);
#endif
