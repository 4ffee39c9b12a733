#include "simdisk_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

/* The model: files, names, what of them is durable, and the lots at a crash. */

static char *joined(const char *a, const char *b)
{
	size_t n = strlen(a) + strlen(b) + 2;
	char *s = mem_must_zalloc(n);

	snprintf(s, n, "%s/%s", a, b);
	return s;
}

const char *sim_parent(const char *path, char out[512])
{
	const char *slash = strrchr(path, '/');

	snprintf(out, 512, "%.*s", slash ? (int)(slash - path) : 0, path);
	return out;
}

static struct sim_name **name_find(struct sim_name **names, const char *path)
{
	while (*names && strcmp((*names)->path, path) != 0)
		names = &(*names)->next;
	return names;
}

struct sim_node *sim_find(struct sim_name *names, const char *path)
{
	struct sim_name *name = *name_find(&names, path);

	return name ? name->node : NULL;
}

static void name_set(struct sim_name **names, const char *path, struct sim_node *node)
{
	struct sim_name **at = name_find(names, path);

	if (!*at) {
		*at = mem_must_zalloc(sizeof **at);
		(*at)->path = mem_must_strdup(path);
	}
	(*at)->node = node;
}

static void name_remove(struct sim_name **names, const char *path)
{
	struct sim_name **at = name_find(names, path);
	struct sim_name *gone = *at;

	if (!gone)
		return;
	*at = gone->next;
	free(gone->path);
	free(gone);
}

static struct sim_node *node_new(struct simdisk *d)
{
	struct sim_node *node = mem_must_zalloc(sizeof *node);

	node->ops_end = &node->ops;
	node->next = d->nodes;
	d->nodes = node;
	return node;
}

static void name_op_add(struct simdisk *d, const char *remove, const char *add,
			struct sim_node *node)
{
	struct sim_name_op *op = mem_must_zalloc(sizeof *op);

	op->remove = remove ? mem_must_strdup(remove) : NULL;
	op->add = add ? mem_must_strdup(add) : NULL;
	op->node = node;
	*d->name_ops_end = op;
	d->name_ops_end = &op->next;
}

static void name_op_free(struct sim_name_op *op)
{
	free(op->remove);
	free(op->add);
	free(op);
}

static void name_op_apply(struct simdisk *d, const struct sim_name_op *op)
{
	/* A name that meanwhile stands for another file stays. */
	if (op->remove && sim_find(d->durable_names, op->remove) == op->node)
		name_remove(&d->durable_names, op->remove);
	if (op->add)
		name_set(&d->durable_names, op->add, op->node);
}

static void node_resize(struct sim_node *node, uint64_t size)
{
	if (size > node->n) {
		void *p = node->bytes;

		mem_must_grow(&p, size, 1);
		node->bytes = p;
		memset(node->bytes + node->n, 0, size - node->n);
	}
	node->n = size;
}

static void node_put(struct sim_node *node, const uint8_t *p, size_t n, uint64_t offset)
{
	if (n == 0)
		return;
	if (offset + n > node->n)
		node_resize(node, offset + n);
	memcpy(node->bytes + offset, p, n);
}

static void op_apply(struct sim_node *node, const struct sim_op *op)
{
	if (op->data)
		node_put(node, op->data, op->n, op->offset);
	else
		node_resize(node, op->offset);
}

static void op_free(struct sim_op *op)
{
	free(op->data);
	free(op);
}

static struct sim_op *op_take(struct sim_node *node)
{
	struct sim_op *op = node->ops;

	if (!op)
		return NULL;
	node->ops = op->next;
	if (!node->ops)
		node->ops_end = &node->ops;
	return op;
}

static void op_add(struct sim_node *node, struct sim_op op)
{
	*node->ops_end = mem_must_dup(&op, sizeof op);
	node->ops_end = &(*node->ops_end)->next;
}

void sim_write(struct sim_node *node, const void *p, size_t n, uint64_t offset)
{
	if (n > 0)
		op_add(node, (struct sim_op){ NULL, offset, n, mem_must_dup(p, n) });
}

void sim_truncate(struct sim_node *node, uint64_t size)
{
	op_add(node, (struct sim_op){ NULL, size, 0, NULL });
}

enum sim_gate sim_enter(struct simdisk *d)
{
	if (d->off)
		return SIM_OFF;
	return ++d->calls == d->options.fail_at_call ? SIM_FAIL : SIM_GO;
}

static struct sim_node *node_load(struct simdisk *d, const char *full, struct err *err)
{
	struct sim_node *node = node_new(d);
	struct stat st;
	int fd = open(full, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)err_sys(err, errno, "cannot load '%s'", full);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	node_resize(node, (uint64_t)st.st_size);
	if (st.st_size > 0 && pread(fd, node->bytes, node->n, 0) != st.st_size)
		node_resize(node, 0);
	close(fd);
	return node;
}

struct sim_node *sim_opened(struct simdisk *d, const char *path, bool is_new)
{
	struct sim_node *node = sim_find(d->live_names, path);
	struct err ignored;
	char *full;

	if (node)
		return node;
	if (is_new) {
		node = node_new(d);
		name_op_add(d, NULL, path, node);
	} else {
		/* Not made through the disk: it was always there. */
		full = joined(d->live, path);
		node = node_load(d, full, &ignored);
		free(full);
		REQUIRE(node);
		name_set(&d->durable_names, path, node);
	}
	name_set(&d->live_names, path, node);
	return node;
}

void sim_renamed(struct simdisk *d, const char *from, const char *to)
{
	struct sim_node *node = sim_find(d->live_names, from);

	name_op_add(d, from, to, node);
	name_remove(&d->live_names, from);
	if (to)
		name_set(&d->live_names, to, node);
}

void sim_made_folder(struct simdisk *d, const char *path)
{
	name_op_add(d, NULL, path, NULL);
	name_set(&d->live_names, path, NULL);
}

static bool in_folder(const char *path, const char *folder)
{
	char parent[512];

	return path && strcmp(sim_parent(path, parent), folder) == 0;
}

static void names_sync(struct simdisk *d, const char *folder)
{
	struct sim_name_op **at = &d->name_ops;

	while (*at) {
		struct sim_name_op *op = *at;

		if (!in_folder(op->remove, folder) && !in_folder(op->add, folder)) {
			at = &op->next;
			continue;
		}
		name_op_apply(d, op);
		*at = op->next;
		name_op_free(op);
	}
	d->name_ops_end = at;
}

bool sim_sync(struct simdisk *d, struct sim_node *node, const char *folder)
{
	bool last = ++d->syncs == d->options.crash_at_sync;
	struct sim_op *op;

	if (!d->options.no_sync && (!last || rand_below(&d->lots, 2))) {
		while (node && (op = op_take(node)) != NULL) {
			op_apply(node, op);
			op_free(op);
		}
		if (folder)
			names_sync(d, folder);
	}
	if (last)
		d->off = true;
	return !last;
}

void sim_sync_failed(struct simdisk *d, struct sim_node *node)
{
	struct sim_op *op;

	while (node && (op = op_take(node)) != NULL) {
		/* Sizes are the file system's own data, which it does not give up so. */
		if (!op->data || rand_below(&d->lots, 2))
			op_apply(node, op);
		op_free(op);
	}
}

/* The lot of one write that was pending when the power went. */
static void op_lot(struct simdisk *d, struct sim_node *node, struct sim_op *op)
{
	enum {
		DROP,
		KEEP,
		PREFIX,
		SECTORS,
		ZEROS,
		GARBAGE,
		LOTS
	};
	unsigned lot = (unsigned)rand_below(&d->lots, LOTS);

	if (lot == DROP)
		return;
	if (lot == KEEP || !op->data) {
		op_apply(node, op);
	} else if (lot == PREFIX) {
		node_put(node, op->data, rand_below(&d->lots, op->n), op->offset);
	} else if (lot == SECTORS) {
		for (uint64_t at = 0; at < op->n;) {
			uint64_t n = SIM_SECTOR - (op->offset + at) % SIM_SECTOR;

			n = n < op->n - at ? n : op->n - at;
			if (rand_below(&d->lots, 2))
				node_put(node, op->data + at, n, op->offset + at);
			at += n;
		}
	} else if (op->offset + op->n > node->n) {
		/* The size came through and the bytes did not. What was there before stays. */
		uint64_t from = node->n;

		node_resize(node, op->offset + op->n);
		for (uint64_t i = from; lot == GARBAGE && i < node->n; i++)
			node->bytes[i] = (uint8_t)rand_next(&d->lots);
	}
}

static void draw_lots(struct simdisk *d)
{
	struct sim_name_op *name_op;
	struct sim_op *op;

	for (struct sim_node *node = d->nodes; node; node = node->next) {
		while ((op = op_take(node)) != NULL) {
			op_lot(d, node, op);
			op_free(op);
		}
	}
	while ((name_op = d->name_ops) != NULL) {
		if (rand_below(&d->lots, 2))
			name_op_apply(d, name_op);
		d->name_ops = name_op->next;
		name_op_free(name_op);
	}
	d->name_ops_end = &d->name_ops;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int folder_fresh(const char *path, struct err *err)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (mkdir(path, 0700) != 0)
		return err_sys(err, errno, "cannot make '%s'", path);
	return 0;
}

static int file_put(const char *path, const void *p, uint64_t n, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t put;

	/* A name whose folder was lost is lost with it. */
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(err, errno, "cannot make '%s'", path);
	put = n > 0 ? write(fd, p, n) : 0;
	close(fd);
	if (put != (ssize_t)n)
		return err_set(err, ERR_IO, "cannot write '%s'", path);
	return 0;
}

/* Folders first; they are named in the order they were made, parents before children. */
static int names_write(const struct sim_name *names, const char *root, struct err *err)
{
	for (int folders = 1; folders >= 0; folders--) {
		for (const struct sim_name *name = names; name; name = name->next) {
			AUTO(mem_drop) char *full = joined(root, name->path);

			if (folders && !name->node && mkdir(full, 0700) != 0 && errno != ENOENT)
				return err_sys(err, errno, "cannot make '%s'", full);
			if (!folders && name->node)
				TRY(file_put(full, name->node->bytes, name->node->n, err));
		}
	}
	return 0;
}

static int load_folder(struct simdisk *d, const char *path, struct err *err)
{
	AUTO(mem_drop) char *full = joined(d->durable, path);
	DIR *dir = opendir(full);
	struct dirent *entry;
	int rc = 0;

	if (!dir)
		return errno == ENOENT ? 0 : err_sys(err, errno, "cannot list '%s'", full);
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		AUTO(mem_drop)
		char *below =
			path[0] ? joined(path, entry->d_name) : mem_must_strdup(entry->d_name);
		AUTO(mem_drop) char *at = joined(d->durable, below);
		struct sim_node *node = NULL;
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (lstat(at, &st) != 0)
			rc = err_sys(err, errno, "cannot look at '%s'", at);
		else if (!S_ISDIR(st.st_mode) && !(node = node_load(d, at, err)))
			rc = -(int)ERR_IO;
		name_set(&d->live_names, below, node);
		name_set(&d->durable_names, below, node);
		if (rc == 0 && !node)
			rc = load_folder(d, below, err);
	}
	closedir(dir);
	return rc;
}

int simdisk_new(struct simdisk **ret, const char *dir, const struct simdisk_options *options,
		struct err *err)
{
	struct simdisk *d = mem_must_zalloc(sizeof *d);
	char *real = realpath(dir, NULL);
	int rc = 0;

	d->options = *options;
	d->lots.state = options->seed;
	d->name_ops_end = &d->name_ops;
	lock_init(&d->lock, LOCK_TEST);
	if (!real)
		rc = err_sys(err, errno, "no folder '%s'", dir);
	d->live = joined(real ? real : dir, "live");
	d->durable = joined(real ? real : dir, "durable");
	free(real);
	if (rc == 0)
		rc = load_folder(d, "", err);
	if (rc == 0)
		rc = folder_fresh(d->live, err);
	if (rc == 0)
		rc = names_write(d->live_names, d->live, err);
	if (rc == 0)
		rc = io_posix_new(&d->under, d->live, err);
	if (rc == 0) {
		sim_io_init(d);
		rc = sim_vfs_init(d, err);
	}
	if (rc != 0) {
		simdisk_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

static void names_free(struct sim_name *name)
{
	while (name) {
		struct sim_name *next = name->next;

		free(name->path);
		free(name);
		name = next;
	}
}

void simdisk_free(struct simdisk *d)
{
	struct sim_op *op;

	if (!d)
		return;
	sim_vfs_release(d);
	io_posix_free(d->under);
	names_free(d->live_names);
	names_free(d->durable_names);
	while (d->name_ops) {
		struct sim_name_op *gone = d->name_ops;

		d->name_ops = gone->next;
		name_op_free(gone);
	}
	while (d->nodes) {
		struct sim_node *node = d->nodes;

		d->nodes = node->next;
		while ((op = op_take(node)) != NULL)
			op_free(op);
		free(node->bytes);
		free(node);
	}
	lock_release(&d->lock);
	free(d->live);
	free(d->durable);
	free(d);
}

struct io *simdisk_io(struct simdisk *d)
{
	return &d->io;
}

const char *simdisk_vfs(const struct simdisk *d)
{
	return d->vfs_name;
}

const char *simdisk_live(const struct simdisk *d)
{
	return d->live;
}

const char *simdisk_durable(const struct simdisk *d)
{
	return d->durable;
}

void simdisk_cut(struct simdisk *d)
{
	lock_take(&d->lock);
	d->off = true;
	lock_drop(&d->lock);
}

bool simdisk_is_off(struct simdisk *d)
{
	bool off;

	lock_take(&d->lock);
	off = d->off;
	lock_drop(&d->lock);
	return off;
}

uint64_t simdisk_syncs(struct simdisk *d)
{
	uint64_t n;

	lock_take(&d->lock);
	n = d->syncs;
	lock_drop(&d->lock);
	return n;
}

uint64_t simdisk_calls(struct simdisk *d)
{
	uint64_t n;

	lock_take(&d->lock);
	n = d->calls;
	lock_drop(&d->lock);
	return n;
}

int simdisk_crash_image(struct simdisk *d, struct err *err)
{
	int rc;

	lock_take(&d->lock);
	d->off = true;
	draw_lots(d);
	rc = folder_fresh(d->durable, err);
	if (rc == 0)
		rc = names_write(d->durable_names, d->durable, err);
	lock_drop(&d->lock);
	return rc;
}
