#ifndef SCAN_CONFINE_INTERNAL_H
#define SCAN_CONFINE_INTERNAL_H
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

/*
 * How a scan child gives up its rights. Two steps, because the engine and
 * libmagic must open their own files in between:
 *
 *  1. confine_begin, first thing, before any other thread: dies with the
 *     parent, gains nothing by exec, no capabilities, no core dumps, cannot write
 *     files; Landlock leaves only reading of libmagic's database, no network, no
 *     signals to others.
 *  2. confine, on the thread that scans: Landlock without any path, no new
 *     processes, a ceiling on memory, and seccomp for all threads: about 40 calls
 *     that touch nothing but memory and descriptors held already. Any other
 *     call kills the process.
 *
 * Both fail if the kernel lacks Landlock or seccomp: there is no weaker mode.
 * Sources: landlock(7), seccomp(2), prctl(2).
 */

/*
 * parent: who must be our parent now, or this process has outlived it (0: do not ask).
 * Errors: ERR_DIED the parent is gone; ERR_FORBIDDEN the kernel cannot do it.
 */
MUST_USE int confine_begin(pid_t parent, struct err *err);

/* memory_max: the ceiling the parent watches; the kernel's own is set above it. */
MUST_USE int confine(uint64_t memory_max, struct err *err);
#endif
