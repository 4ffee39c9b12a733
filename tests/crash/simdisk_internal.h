#ifndef SIMDISK_INTERNAL_H
#define SIMDISK_INTERNAL_H
#include <stddef.h>
#include <sqlite3.h>
#include "base/rand.h"
#include "base/thread.h"
#include "simdisk.h"

enum {
	SIM_SECTOR = 512
};

/* A write, or with data NULL a truncation, that is not durable yet. */
struct sim_op {
	struct sim_op *next;
	uint64_t offset; /* the new size, of a truncation */
	size_t n;
	uint8_t *data;
};

/* A file apart from its names. Lives as long as the disk. */
struct sim_node {
	struct sim_node *next;
	uint8_t *bytes; /* what is durable */
	uint64_t n;
	struct sim_op *ops; /* what is not, in order */
	struct sim_op **ops_end;
};

struct sim_name {
	struct sim_name *next;
	char *path;            /* below the root */
	struct sim_node *node; /* NULL: a folder */
};

/* A change of names that is not durable yet: `remove` goes, `add` comes. */
struct sim_name_op {
	struct sim_name_op *next;
	char *remove; /* or NULL */
	char *add;    /* or NULL */
	struct sim_node *node;
};

struct simdisk {
	struct io io; /* first */
	struct simdisk_options options;
	struct lock lock;     /* guards all below but the constants */
	struct io *under;     /* the real files of live/; never synced */
	char *live, *durable; /* constant */
	char vfs_name[32];    /* constant */
	sqlite3_vfs vfs;
	struct rand_seq lots;
	struct sim_node *nodes;
	struct sim_name *live_names;
	struct sim_name *durable_names;
	struct sim_name_op *name_ops;
	struct sim_name_op **name_ops_end;
	uint64_t syncs, calls;
	bool off;
};

enum sim_gate {
	SIM_GO,
	SIM_OFF,
	SIM_FAIL
};

/* Everything below with the lock held. */
/* Count a call that can fail and say what becomes of it. */
enum sim_gate sim_enter(struct simdisk *d) MUST_HOLD(d->lock);
struct sim_node *sim_find(struct sim_name *names, const char *path);
/* The node of a file in live/ that was just opened; makes it if it is new to the disk. */
struct sim_node *sim_opened(struct simdisk *d, const char *path, bool is_new) MUST_HOLD(d->lock);
void sim_write(struct sim_node *node, const void *p, size_t n, uint64_t offset);
void sim_truncate(struct sim_node *node, uint64_t size);
/* `to` NULL: unlinked. */
void sim_renamed(struct simdisk *d, const char *from, const char *to) MUST_HOLD(d->lock);
void sim_made_folder(struct simdisk *d, const char *path) MUST_HOLD(d->lock);
/* A sync that was let through the gate; false: the power went at it. NULL node or folder: none. */
bool sim_sync(struct simdisk *d, struct sim_node *node, const char *folder) MUST_HOLD(d->lock);
/* A sync that fails: part of what waited is lost for good, though the disk goes on. */
void sim_sync_failed(struct simdisk *d, struct sim_node *node) MUST_HOLD(d->lock);
/* "a/b.c" -> "a", "b.c" -> "". Into out of at least 512 bytes. */
const char *sim_parent(const char *path, char out[512]);

void sim_io_init(struct simdisk *d);
MUST_USE int sim_vfs_init(struct simdisk *d, struct err *err);
void sim_vfs_release(struct simdisk *d);
#endif
