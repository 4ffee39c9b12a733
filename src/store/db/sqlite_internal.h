#ifndef STORE_SQLITE_INTERNAL_H
#define STORE_SQLITE_INTERNAL_H
#include <sqlite3.h>

#include "base/err.h"

/*
 * The VFS that counts: SQLite's default one with each sync added to
 * METRIC_syncs_total. Registered once, under this name.
 */
#define SQLITE_VFS_COUNTING "weir"
MUST_USE int sqlite_vfs_register(struct err *err);
#endif
