#ifndef STORE_PACK_H
#define STORE_PACK_H
#include <stdint.h>
#include "base/err.h"
#include "base/hash.h"
#include "base/io.h"

/*
 * Samples in packs: append-only files of records, sealed at a size and never
 * appended to again. Format: docs/format/pack.md. A record's bytes move never;
 * erasing one overwrites it in place and gives its blocks back.
 *
 * Durability: what packs_append wrote is durable after the next packs_sync that
 * began later. Bytes no row of the database refers to are garbage and harmless.
 *
 * Threads: all calls from any thread.
 */
struct packs;

struct pack_locator {
	uint32_t pack;
	uint64_t offset; /* of the sample's first byte in the pack's file */
	uint64_t len;
};

struct packs_options {
	uint64_t seal_bytes;     /* a pack that reached this takes no more; default 256 MB */
	uint64_t own_pack_bytes; /* samples of at least this size become a pack of their own; 16 MB
				  */
	uint64_t reserve_bytes;  /* below this much free disk appends fail with ERR_NO_SPACE */
};
#define PACKS_OPTIONS_DEFAULT ((struct packs_options){ 256ull << 20, 16ull << 20, 1ull << 30 })

/*
 * Open the folder packs/ below the io's root. An open pack left by a crash is
 * walked record by record and cut after the last whole one; damage in front of
 * whole records is marked, never cut. Sealed packs are not looked into
 * (packs_walk does). Only one struct packs may be open on a folder.
 *
 * Errors: ERR_INVALID for a pack of a newer version; ERR_IO.
 */
MUST_USE int packs_open(struct packs **ret, struct io *io, const struct packs_options *options,
			struct err *err);
void packs_close(struct packs *p); /* syncs what is left; NULL is fine */

/*
 * Add a sample. It can be read at once, and is durable after a packs_sync that
 * began later and succeeded. The caller vouches for h->sha256.
 *
 * Errors: ERR_TOO_LARGE over LIMIT_SAMPLE_BYTES; ERR_NO_SPACE, the reserve
 * included; ERR_IO, also after a failed sync (see packs_sync).
 */
MUST_USE int packs_append(struct packs *p, const struct hashes *h, const void *data, size_t len,
			  struct pack_locator *ret, struct err *err);

/*
 * A sample too large for memory, received in pieces: written to a temporary
 * file that is, or is copied into, a pack when it is finished.
 */
struct pack_stream;
MUST_USE int pack_stream_new(struct pack_stream **ret, struct packs *p, struct err *err);
MUST_USE int pack_stream_add(struct pack_stream *s, const void *data, size_t len, struct err *err);
/* Hands the sample to the packs (as packs_append) and frees the stream, also on failure. */
MUST_USE int pack_stream_finish(struct pack_stream *s, const struct hashes *h,
				struct pack_locator *ret, struct err *err);
void pack_stream_free(struct pack_stream *s); /* gives up: removes the temporary file */

/*
 * Make durable all that was appended before the call; several callers share one
 * sync, and one that finds all durable already costs none.
 *
 * After a failed sync nobody can say which bytes reached the disk, and a second
 * sync would wrongly succeed: from then on every append and every sync that
 * waits for something fails with the same error until the packs are closed and
 * opened again. Reading goes on. What earlier syncs made durable stays so.
 */
MUST_USE int packs_sync(struct packs *p, struct err *err);

/* A counted hold on a pack's file, for pread, mmap, sendfile and descriptor passing. */
struct pack_file;
MUST_USE int packs_get(struct packs *p, uint32_t pack, struct pack_file **ret, struct err *err);
int pack_file_fd(const struct pack_file *f); /* opened read-only */
void pack_file_put(struct packs *p, struct pack_file *f);

/* Read a sample's bytes [from, from + n). ERR_CORRUPT if they are not all there. */
MUST_USE int packs_read(struct packs *p, const struct pack_locator *at, uint64_t from, void *data,
			size_t n, struct err *err);

/*
 * Read all of a sample into at->len bytes, and hold it against its checksum: what is made of
 * it is kept, so it must be of the bytes that were sent. *ret_erased: it is erased, and nothing
 * was read. ERR_CORRUPT: it is damaged.
 */
MUST_USE int packs_read_whole(struct packs *p, const struct pack_locator *at, void *data,
			      bool *ret_erased, struct err *err);

/*
 * Mark one record erased, overwrite its bytes with zeros, and release the
 * blocks; two syncs of the file, not shared. Idempotent: the caller repeats it
 * after a crash, and until then packs_walk may name the record; one under way is
 * waited for there. ERR_CORRUPT if no such record is there.
 *
 * So the caller keeps the intent, durable before it calls. The record is durable
 * before that: the place of one that a crash cut away becomes another's.
 */
MUST_USE int packs_erase(struct packs *p, const struct pack_locator *at, struct err *err);

/*
 * Walk every record of every pack: structure always; with check_bytes also the
 * bytes against checksum and SHA-256, and that those of erased records are zeros.
 * `each` gets every record that is as it should be (erased ones too; not those
 * that recovery marked broken), `bad` each finding with the offset of the
 * structure in the file (a record's header, 64 before its locator); the walk
 * goes on after one. Appends may go on meanwhile; the callbacks hold no lock.
 * When `each` returns false the walk ends with ERR_CLOSED.
 */
struct pack_record {
	struct pack_locator at;
	uint8_t sha256[SHA256_BYTES];
	bool erased;
};
MUST_USE int packs_walk(struct packs *p, bool check_bytes,
			bool (*each)(const struct pack_record *record, void *arg),
			void (*bad)(uint32_t pack, uint64_t offset, const char *what, void *arg),
			void *arg, struct err *err);

/*
 * What tells one state of a pack's file from another without reading it: where
 * it is, its size, and when it was written and changed.
 */
struct pack_stamp {
	uint64_t dev;
	uint64_t ino;
	uint64_t size;
	int64_t mtime_ns;
	int64_t ctime_ns;
	int64_t taken_ns; /* wall clock, the file system's */
};
MUST_USE int packs_stamp(struct packs *p, uint32_t pack, struct pack_stamp *ret, struct err *err);
/*
 * Is the file certainly as it was at `then`? A write soon before a stamp was
 * taken may be followed by one with the same time, so such stamps prove nothing.
 */
bool pack_stamp_is_same(const struct pack_stamp *then, const struct pack_stamp *now);

/*
 * Who takes copies decides what lives on in them.
 */
struct pack_copy_rules {
	/* Asked about each record that is alive, in rising order of offsets: shall it live on? */
	int (*lives)(const struct pack_record *record, bool *ret, void *arg, struct err *err);
	/* A record that is erased: of no use to anybody. In the same order. */
	int (*erased)(const struct pack_record *record, void *arg, struct err *err);
	/* As packs_walk's. */
	void (*bad)(uint32_t pack, uint64_t offset, const char *what, void *arg);
	/* After each piece; false ends the copying with ERR_CLOSED. */
	bool (*goes_on)(uint64_t bytes, void *arg);
	void *arg;
};
struct pack_copied {
	uint64_t bytes; /* of the copy */
	uint8_t sha256[SHA256_BYTES];
	struct pack_stamp stamp; /* of the pack before it was read */
};
/*
 * Copy a pack to the new file `path` of `to`, synced: a sealed one whole, an open
 * one up to `end`, where a record ends. Every record is checked against its
 * checksum on the way. Those that do not live on are erased in the copy, as are
 * those whose erasure is under way; so a copy holds the bytes it is asked for and
 * no others. What is damaged is copied as it is and told. Appends and erasures may
 * go on meanwhile. A failed copy is removed.
 */
MUST_USE int packs_copy(struct packs *p, uint32_t pack, uint64_t end, struct io *to,
			const char *path, const struct pack_copy_rules *rules,
			struct pack_copied *ret, struct err *err);

/* Bytes of all packs' files, for showing how far a walk is. */
MUST_USE int packs_bytes(struct packs *p, uint64_t *ret, struct err *err);

/* Free bytes on the disk that holds the packs. */
MUST_USE int packs_disk_free(struct packs *p, uint64_t *ret, struct err *err);
#endif
