#include "backup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

const char backup_marker[] = "weir-backup";
static const char marker_first[] = "weir backup 1\nfolder ";

enum {
	PARENTS_MAX = 4096, /* folders above one another: a path has 4096 bytes */
	MARKER_BYTES = sizeof marker_first - 1 + FOLDER_ID_CHARS + 1,
};

static void dir_drop(DIR **d)
{
	if (*d)
		closedir(*d);
}

void backup_name(char out[BACKUP_NAME_BYTES], uint64_t generation, const char *what)
{
	snprintf(out, BACKUP_NAME_BYTES, "%010" PRIu64 ".%s", generation, what);
}

/* ---- Listing ---- */

static int folder_list(struct io *io, const char *below, DIR **ret, struct err *err)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", io->root, below);
	*ret = opendir(path);
	return *ret ? 0 : err_sys(err, errno, "cannot list the folder");
}

/* The generation in "0000000001.WHAT"; 0: it is no such name. */
static uint64_t generation_of(struct str name, const char *what)
{
	struct str end = str_of(what);
	uint64_t v;

	if (name.n <= end.n + 1 || !str_ends(name, end) || name.p[name.n - end.n - 1] != '.' ||
	    !str_to_u64(str_make(name.p, name.n - end.n - 1), INT64_MAX, &v))
		return 0;
	return v;
}

static int generation_cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int backup_list(struct io *io, const char *what, uint64_t **ret, size_t *ret_n, struct err *err)
{
	AUTO(mem_drop) uint64_t *all = NULL;
	AUTO(dir_drop) DIR *dir = NULL;
	size_t n = 0, room = 0;
	struct dirent *entry;

	TRY(folder_list(io, "", &dir, err));
	while ((entry = readdir(dir)) != NULL) {
		uint64_t generation = generation_of(str_of(entry->d_name), what);

		if (!generation)
			continue;
		if (n == room) {
			room = room ? 2 * room : 16;
			mem_must_grow((void **)&all, room, sizeof *all);
		}
		all[n++] = generation;
	}
	if (n)
		qsort(all, n, sizeof *all, generation_cmp);
	*ret = STEAL(all);
	*ret_n = n;
	return 0;
}

/* ---- Copying a file ---- */

static int copy_pieces(struct backup_file_copy *c, struct io_file *from, struct io_file *to,
		       struct err *err)
{
	AUTO(sha256_drop) struct sha256 *h = sha256_new();
	AUTO(mem_drop) void *piece = NULL;

	TRY(mem_try_alloc(&piece, BACKUP_PIECE, err));
	TRY(io_size(from, &c->bytes, err));
	for (uint64_t at = 0; at < c->bytes; at += BACKUP_PIECE) {
		uint64_t left = c->bytes - at;
		size_t n = left < BACKUP_PIECE ? left : BACKUP_PIECE;
		const uint8_t *bytes = piece;

		TRY(io_pread(from, piece, n, at, err));
		sha256_add(h, piece, n);
		/* Erased samples are holes here too. */
		if (to && (bytes[0] != 0 || memcmp(bytes, bytes + 1, n - 1) != 0))
			TRY(c->to->pwrite(c->to, to, piece, n, at, err));
		if (!task_goes_on(c->task, n))
			return err_set(err, ERR_CLOSED, "it was stopped");
	}
	sha256_end(h, c->sha256);
	if (!to)
		return 0;
	TRY(c->to->truncate(c->to, to, c->bytes, err));
	return c->to->sync(c->to, to, err);
}

int backup_file_copy(struct backup_file_copy *c, struct err *err)
{
	struct io_file *from, *to = NULL;
	int rc;

	TRY(c->from->open(c->from, c->from_path, O_RDONLY, &from, err));
	rc = c->to ? c->to->open(c->to, c->to_path, O_RDWR | O_CREAT | O_TRUNC, &to, err) : 0;
	if (rc == 0)
		rc = copy_pieces(c, from, to, err);
	c->from->close(c->from, from);
	if (to) {
		c->to->close(c->to, to);
		if (rc)
			(void)c->to->unlink(c->to, c->to_path, NULL);
	}
	return rc && err ? err_add(err, "'%s'", c->to ? c->to_path : c->from_path) : rc;
}

/* ---- Is it a place for backups? ---- */

static bool is_same_folder(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* *ret: `inner` is `outer` or somewhere below it. */
static int is_inside(int inner, int outer, bool *ret, struct err *err)
{
	int at = openat(inner, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), up, rc = 0;
	struct stat want, here, above;

	*ret = false;
	if (at < 0 || fstat(outer, &want) != 0 || fstat(at, &here) != 0)
		rc = err_sys(err, errno, "cannot look at the folder");
	for (int i = 0; rc == 0 && i < PARENTS_MAX; i++) {
		*ret = is_same_folder(&here, &want);
		if (*ret)
			break;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0 || fstat(up, &above) != 0) {
			rc = err_sys(err, errno, "cannot look at the folder above");
			break;
		}
		close(at);
		at = up;
		if (is_same_folder(&above, &here))
			break; /* the root is its own parent */
		here = above;
	}
	if (at >= 0)
		close(at);
	return rc;
}

static int check_apart(const struct backup_options *options, const char *data, struct err *err)
{
	int data_fd = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC), rc;
	bool inside = false, around = false;

	if (data_fd < 0)
		return err_sys(err, errno, "cannot open '%s'", data);
	rc = is_inside(options->folder_fd, data_fd, &inside, err);
	if (rc == 0)
		rc = is_inside(data_fd, options->folder_fd, &around, err);
	close(data_fd);
	if (rc == 0 && inside)
		rc = err_set(err, ERR_INVALID, "it is inside the data folder '%s'", data);
	if (rc == 0 && around)
		rc = err_set(err, ERR_INVALID, "the data folder '%s' is inside it", data);
	return rc;
}

static int check_empty(struct io *io, struct err *err)
{
	AUTO(dir_drop) DIR *dir = NULL;
	struct dirent *entry;

	TRY(folder_list(io, "", &dir, err));
	while ((entry = readdir(dir)) != NULL) {
		struct str name = str_of(entry->d_name);

		/* A new file system's; what an interrupted first step left. */
		if (!str_eq_z(name, ".") && !str_eq_z(name, "..") &&
		    !str_eq_z(name, "lost+found") && !str_eq_z(name, "lock") &&
		    !str_starts(name, str_of(backup_marker)))
			return err_set(err, ERR_INVALID,
				       "it is not empty and holds no backup of weir");
	}
	return 0;
}

static int write_marker(struct io *io, const char *folder, struct err *err)
{
	char aside[BACKUP_NAME_BYTES], text[MARKER_BYTES + 1];
	struct io_file *f;
	int rc;

	snprintf(text, sizeof text, "%s%s\n", marker_first, folder);
	snprintf(aside, sizeof aside, "%s.tmp", backup_marker);
	TRY(io->open(io, aside, O_RDWR | O_CREAT | O_TRUNC, &f, err));
	rc = io->pwrite(io, f, text, MARKER_BYTES, 0, err);
	if (rc == 0)
		rc = io->sync(io, f, err);
	io->close(io, f);
	TRY(rc);
	TRY(io->rename(io, aside, backup_marker, err));
	return io->sync_dir(io, "", err);
}

static int read_marker(struct io *io, char ret[FOLDER_ID_CHARS + 1], struct err *err)
{
	char text[MARKER_BYTES];
	const size_t first = sizeof marker_first - 1;
	struct io_file *f;
	int rc;

	TRY(io->open(io, backup_marker, O_RDONLY, &f, err));
	rc = io_pread(f, text, sizeof text, 0, err);
	io->close(io, f);
	TRY(rc);
	if (memcmp(text, marker_first, first) != 0 || text[sizeof text - 1] != '\n')
		return err_set(err, ERR_INVALID, "'%s' in it is of another version, or damaged",
			       backup_marker);
	memcpy(ret, text + first, FOLDER_ID_CHARS);
	ret[FOLDER_ID_CHARS] = 0;
	return 0;
}

static int claim(struct io *io, const struct backup_options *options, const char *folder,
		 struct err *err)
{
	char id[FOLDER_ID_CHARS + 1];
	int rc = read_marker(io, id, err);

	if (rc == -ERR_NOT_FOUND) {
		TRY(check_empty(io, err));
		return write_marker(io, folder, err);
	}
	TRY(rc);
	if (strcmp(id, folder) == 0)
		return 0;
	if (options->adopt)
		return write_marker(io, folder, err);
	return err_set(err, ERR_INVALID,
		       "it holds the backups of another data folder (%s; this one is %s). To go on "
		       "with them, as after a restore, give --adopt",
		       id, folder);
}

static int place_take(struct place *p, const struct backup_options *options, const char *data,
		      const char *folder, struct err *err)
{
	if (!options->io)
		TRY(io_posix_new_fd(&p->own_io, options->folder_fd, err));
	p->io = options->io ? options->io : p->own_io;
	TRY(check_apart(options, data, err));
	/* Nothing is written into what is not ours. */
	if (faccessat(options->folder_fd, backup_marker, F_OK, 0) != 0)
		TRY(check_empty(p->io, err));
	TRY(p->io->open(p->io, "lock", O_RDWR | O_CREAT, &p->lock, err));
	if (flock(p->lock->fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK
			       ? err_set(err, ERR_BUSY, "another backup to it is under way")
			       : err_sys(err, errno, "cannot lock it");
	TRY(claim(p->io, options, folder, err));
	return p->io->mkdir(p->io, "packs", err);
}

int place_open(struct place *ret, const struct backup_options *options, const char *data,
	       const char *folder, struct err *err)
{
	int rc = place_take(ret, options, data, folder, err);

	if (rc) {
		place_close(ret);
		return err ? err_add(err, "the folder '%s' cannot take a backup", options->folder)
			   : rc;
	}
	return 0;
}

void place_close(struct place *p)
{
	if (p->lock)
		p->io->close(p->io, p->lock);
	io_posix_free(p->own_io);
	*p = (struct place){ .io = NULL };
}

/* ---- What is not needed any more ---- */

/* The newest generations and what is in them. */
struct kept {
	struct manifest *manifests; /* owned; [n - 1] is borrowed */
	size_t n;
	uint64_t first;
};

static bool is_needed(const struct kept *k, struct str name)
{
	uint64_t number;

	if (name.n < 10 || !str_to_u64(str_make(name.p, 10), UINT32_MAX, &number))
		return false;
	for (size_t i = 0; i < k->n; i++) {
		const struct manifest_pack *p = manifest_pack(&k->manifests[i], (uint32_t)number);

		if (p && str_eq_z(name, p->path + sizeof "packs/" - 1))
			return true;
	}
	return false;
}

static int prune_packs(struct place *p, const struct kept *k, struct err *err)
{
	AUTO(dir_drop) DIR *dir = NULL;
	char path[BACKUP_NAME_BYTES + 8];
	struct dirent *entry;

	TRY(folder_list(p->io, "packs", &dir, err));
	while ((entry = readdir(dir)) != NULL) {
		struct str name = str_of(entry->d_name);

		if (name.p[0] == '.' || name.n >= BACKUP_NAME_BYTES || is_needed(k, name))
			continue;
		if (!str_ends(name, STR(".pack")) && !str_ends(name, STR(".tmp")))
			continue;
		snprintf(path, sizeof path, "packs/%.63s", entry->d_name);
		TRY(p->io->unlink(p->io, path, err));
	}
	return 0;
}

/* Everything called after a generation below the first kept one, its manifest before the rest. */
static int prune_generations(struct place *p, const struct kept *k, bool manifests, struct err *err)
{
	AUTO(dir_drop) DIR *dir = NULL;
	struct dirent *entry;

	TRY(folder_list(p->io, "", &dir, err));
	while ((entry = readdir(dir)) != NULL) {
		struct str name = str_of(entry->d_name);
		size_t dot = str_find(name, '.');
		struct str what = str_make(name.p + dot, name.n - dot);
		bool partial = str_eq_z(what, ".partial");
		uint64_t generation;

		if (dot < 10 || !str_to_u64(str_make(name.p, dot), INT64_MAX, &generation) ||
		    (generation >= k->first && !partial))
			continue;
		if (str_eq_z(what, ".manifest") == manifests)
			TRY(p->io->unlink(p->io, entry->d_name, err));
	}
	return p->io->sync_dir(p->io, "", err);
}

static int kept_read(struct kept *k, struct place *p, const struct manifest *newest, uint32_t keep,
		     struct err *err)
{
	AUTO(mem_drop) uint64_t *all = NULL;
	char name[BACKUP_NAME_BYTES];
	size_t n;
	int rc = 0;

	TRY(backup_list(p->io, "manifest", &all, &n, err));
	REQUIRE(all != NULL && n > 0); /* the newest is there */
	if (n > keep)
		memmove(all, all + (n - keep), keep * sizeof *all);
	n = n > keep ? keep : n;
	REQUIRE(all[n - 1] == newest->generation);
	k->first = all[0];
	k->manifests = mem_must_zalloc(n * sizeof *k->manifests);
	for (; k->n < n - 1 && rc == 0; k->n++) {
		backup_name(name, all[k->n], "manifest");
		rc = manifest_read(&k->manifests[k->n], p->io, name, true, err);
	}
	if (rc == 0)
		k->manifests[k->n++] = *newest;
	return rc;
}

int place_prune(struct place *p, const struct manifest *newest, uint32_t keep, struct err *err)
{
	struct kept k = { .n = 0 };
	int rc = kept_read(&k, p, newest, keep, err);

	/* A manifest goes first: what it names must never be missing while it is there. */
	if (rc == 0)
		rc = prune_generations(p, &k, true, err);
	if (rc == 0)
		rc = prune_generations(p, &k, false, err);
	if (rc == 0)
		rc = prune_packs(p, &k, err);
	for (size_t i = 0; i < k.n; i++) {
		if (k.manifests[i].packs != newest->packs)
			manifest_release(&k.manifests[i]);
	}
	free(k.manifests);
	return rc && err ? err_add(err, "removing what is not needed any more") : rc;
}
