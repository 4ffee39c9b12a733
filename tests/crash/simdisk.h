#ifndef SIMDISK_H
#define SIMDISK_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/io.h"

/*
 * A disk that loses power, for tests. The program under test works in the folder
 * live/ through a struct io and a SQLite VFS, and sees what it wrote at once.
 * Beside that the disk keeps what would survive:
 *
 *  - Writes and truncations are durable when their file is synced.
 *  - Names (creates, renames, unlinks, folders) are durable when their folder is
 *    synced; syncing a file does not save its name. This is POSIX read strictly:
 *    no kindness of any file system is relied on.
 *  - SQLite's files follow its own unix VFS: the first sync of a new journal or
 *    WAL syncs the folder, and a delete does if SQLite asks for it.
 *
 * When the power goes, each thing not durable is by lot (`seed`) kept, dropped,
 * or torn: a prefix, some of its 512-byte sectors, or its length with zeros or
 * garbage for bytes. Lots are drawn for each write alone, so a later one may be
 * kept while an earlier one is lost. From then on every call fails with ERR_IO,
 * reads of SQLite included, so nothing can be acknowledged any more.
 *
 * Everything durable and pending is held in memory: for tests of megabytes.
 *
 * Threads: all calls from any thread.
 */
struct simdisk;

struct simdisk_options {
	uint64_t seed;
	/*
	 * The power goes at this sync (1: the first), counted over files and folders
	 * of both kinds; by lot before it takes effect or after, never acknowledged.
	 * 0: only by simdisk_cut.
	 */
	uint64_t crash_at_sync;
	bool no_sync; /* syncs are counted and acknowledged, and do nothing */
	/* The n-th call that can fail (1: the first) does, once; 0: none. */
	uint64_t fail_at_call;
	int fail_errno; /* ENOSPC or EIO. A failed sync loses, by lot, what it was for */
};

/*
 * A disk in `dir`, which must exist: starts with what dir/durable holds, if
 * there is such a folder (left by simdisk_crash_image), and with a new dir/live.
 */
MUST_USE int simdisk_new(struct simdisk **ret, const char *dir,
			 const struct simdisk_options *options, struct err *err);
/* All files must be closed. NULL is fine. Leaves the folders. */
void simdisk_free(struct simdisk *d);

struct io *simdisk_io(struct simdisk *d);             /* the disk's; not to be freed */
const char *simdisk_vfs(const struct simdisk *d);     /* name of the registered VFS */
const char *simdisk_live(const struct simdisk *d);    /* full path; the io's root */
const char *simdisk_durable(const struct simdisk *d); /* full path */

void simdisk_cut(struct simdisk *d); /* the power goes now */
bool simdisk_is_off(struct simdisk *d);
uint64_t simdisk_syncs(struct simdisk *d); /* asked for so far */
uint64_t simdisk_calls(struct simdisk *d); /* that can fail, so far */

/*
 * Cut the power, if it is still there, and write what survived to dir/durable,
 * for an ordinary io and VFS to open. Once only.
 */
MUST_USE int simdisk_crash_image(struct simdisk *d, struct err *err);
#endif
