#include "packs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

/*
 * Copying a pack, in three passes over the copy: the bytes as they are, the
 * records as they shall be, the checksum of the result.
 *
 * Erasures go on meanwhile, so a record may be torn in the copy: alive, and its
 * bytes zeros already. An erasure's mark comes before its zeros, so what does not
 * fit its checksum is looked up in the pack once more: marked there, it is erased
 * in the copy too; otherwise it is damaged.
 */
enum {
	/* Coarsest clock of file times there is (FAT's), to the nanosecond. */
	STAMP_SETTLES_S = 2,
	NS = 1000000000,
};

struct copy {
	struct packs *p;
	uint32_t number;
	struct pack_header header;
	const struct pack_copy_rules *rules;
	struct io *to;
	struct io_file *from_f; /* owned */
	struct io_file *to_f;   /* owned */
	uint64_t bytes;
	void *piece; /* owned, PACK_WINDOW_BYTES */
};

/* ---- Stamps ---- */

static int stamp_of(const struct io_file *f, struct pack_stamp *ret, struct err *err)
{
	struct timespec now;
	struct stat st;

	/* The clock that file systems stamp with: read first, so never too late. */
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (fstat(f->fd, &st) != 0)
		return err_sys(err, errno, "cannot look at the file");
	*ret = (struct pack_stamp){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime_ns = st.st_mtim.tv_sec * (int64_t)NS + st.st_mtim.tv_nsec,
		.ctime_ns = st.st_ctim.tv_sec * (int64_t)NS + st.st_ctim.tv_nsec,
		.taken_ns = now.tv_sec * (int64_t)NS + now.tv_nsec,
	};
	return 0;
}

int packs_stamp(struct packs *p, uint32_t pack, struct pack_stamp *ret, struct err *err)
{
	char name[PACK_NAME_BYTES];
	struct io_file *f;
	int rc;

	pack_name(name, pack);
	TRY(p->io->open(p->io, name, O_RDONLY, &f, err));
	rc = stamp_of(f, ret, err);
	p->io->close(p->io, f);
	return rc;
}

bool pack_stamp_is_same(const struct pack_stamp *then, const struct pack_stamp *now)
{
	int64_t settled_ns = then->taken_ns - STAMP_SETTLES_S * (int64_t)NS;

	return then->dev == now->dev && then->ino == now->ino && then->size == now->size &&
	       then->mtime_ns == now->mtime_ns && then->ctime_ns == now->ctime_ns &&
	       then->mtime_ns < settled_ns && then->ctime_ns < settled_ns;
}

/* ---- The bytes ---- */

static bool is_zeros(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int copy_goes_on(const struct copy *c, uint64_t bytes, struct err *err)
{
	return c->rules->goes_on(bytes, c->rules->arg)
		       ? 0
		       : err_set(err, ERR_CLOSED, "the copying was ended");
}

/* What the disk does not give is told, and no reason to lose the rest. */
static int read_piece(struct copy *c, size_t n, uint64_t at, struct err *err)
{
	struct err why = { 0 };
	int rc = io_pread(c->from_f, c->piece, n, at, &why);

	if (rc == 0)
		return 0;
	if (rc != -ERR_IO && rc != -ERR_CORRUPT)
		return err_set(err, why.kind, "%s", why.msg);
	c->rules->bad(c->number, at, why.msg, c->rules->arg);
	memset(c->piece, 0, n);
	return 0;
}

static int copy_bytes(struct copy *c, struct err *err)
{
	uint8_t head[PACK_HEADER_BYTES];

	for (uint64_t at = 0; at < c->bytes; at += PACK_WINDOW_BYTES) {
		uint64_t left = c->bytes - at;
		size_t n = left < PACK_WINDOW_BYTES ? left : PACK_WINDOW_BYTES;

		TRY(read_piece(c, n, at, err));
		/* Erased samples stay the holes that they are. */
		if (!is_zeros(c->piece, n))
			TRY(c->to->pwrite(c->to, c->to_f, c->piece, n, at, err));
		TRY(copy_goes_on(c, n, err));
	}
	TRY(c->to->truncate(c->to, c->to_f, c->bytes, err));
	/* A pack that was sealed meanwhile is copied as the open one it was. */
	if (c->header.mark != PACK_MARK_SEALED && c->header.id.number == c->number) {
		pack_header_encode(&c->header, head);
		TRY(c->to->pwrite(c->to, c->to_f, head, sizeof head, 0, err));
	}
	return 0;
}

/* ---- The records ---- */

static int erase_in_copy(struct copy *c, const struct pack_step *step, struct err *err)
{
	uint64_t at = step->offset + PACK_RECORD_BYTES;
	uint8_t mark[8];

	put_le64(mark, PACK_MARK_ERASED);
	TRY(c->to->pwrite(c->to, c->to_f, mark, sizeof mark, step->offset + PACK_RECORD_MARK_AT,
			  err));
	memset(c->piece, 0, PACK_COPY_BYTES);
	for (uint64_t i = 0; i < step->h.len; i += PACK_COPY_BYTES) {
		uint64_t left = step->h.len - i;
		size_t n = left < PACK_COPY_BYTES ? left : PACK_COPY_BYTES;

		TRY(c->to->pwrite(c->to, c->to_f, c->piece, n, at + i, err));
	}
	return 0;
}

/* *ret: what is not whole in the copy is erased in the pack by now. */
static int is_erased_by_now(const struct copy *c, const struct pack_step *step, bool *ret,
			    struct err *err)
{
	uint8_t mark[8];

	TRY(io_pread(c->from_f, mark, sizeof mark, step->offset + PACK_RECORD_MARK_AT, err));
	*ret = get_le64(mark) == PACK_MARK_ERASED;
	return 0;
}

static int is_zeroed(const struct copy *c, const struct pack_step *step, bool *ret, struct err *err)
{
	*ret = true;
	for (uint64_t i = 0; i < step->h.len && *ret; i += PACK_WINDOW_BYTES) {
		uint64_t left = step->h.len - i;
		size_t n = left < PACK_WINDOW_BYTES ? left : PACK_WINDOW_BYTES;

		TRY(io_pread(c->to_f, c->piece, n, step->offset + PACK_RECORD_BYTES + i, err));
		*ret = is_zeros(c->piece, n);
	}
	return 0;
}

static int copy_record(struct copy *c, const struct pack_step *step, struct err *err)
{
	const struct pack_copy_rules *rules = c->rules;
	struct pack_record record = { .at = { c->number, step->offset + PACK_RECORD_BYTES,
					      step->h.len } };
	bool erased = step->has_header && step->h.mark == PACK_MARK_ERASED, lives, zeroed;

	if (step->what && step->has_header && !step->short_)
		TRY(is_erased_by_now(c, step, &erased, err));
	if (step->what && !erased) {
		rules->bad(c->number, step->offset, step->what, rules->arg);
		return 0;
	}
	if (step->h.mark == PACK_MARK_BROKEN)
		return 0;
	memcpy(record.sha256, step->h.sha256, SHA256_BYTES);
	record.erased = erased;
	if (erased) {
		TRY(is_zeroed(c, step, &zeroed, err));
		if (step->h.mark != PACK_MARK_ERASED || !zeroed)
			TRY(erase_in_copy(c, step, err));
		return rules->erased(&record, rules->arg, err);
	}
	TRY(rules->lives(&record, &lives, rules->arg, err));
	return lives ? 0 : erase_in_copy(c, step, err);
}

static int copy_records(struct copy *c, uint64_t end, struct err *err)
{
	struct pack_scan scan;
	struct pack_step step;
	bool done = false;
	int rc;

	TRY(pack_scan_init(&scan, c->to_f, &c->header.id, end, err));
	scan.check_bytes = true;
	while ((rc = pack_scan_next(&scan, &step, &done, err)) == 0 && !done) {
		rc = copy_record(c, &step, err);
		if (rc == 0)
			rc = copy_goes_on(c, 0, err);
		if (rc != 0)
			break;
	}
	pack_scan_release(&scan);
	return rc;
}

/* ---- The whole ---- */

static int hash_copy(struct copy *c, uint8_t ret[SHA256_BYTES], struct err *err)
{
	AUTO(sha256_drop) struct sha256 *h = sha256_new();

	for (uint64_t at = 0; at < c->bytes; at += PACK_WINDOW_BYTES) {
		uint64_t left = c->bytes - at;
		size_t n = left < PACK_WINDOW_BYTES ? left : PACK_WINDOW_BYTES;

		TRY(io_pread(c->to_f, c->piece, n, at, err));
		sha256_add(h, c->piece, n);
		TRY(copy_goes_on(c, 0, err));
	}
	sha256_end(h, ret);
	return 0;
}

/* How much is copied; what is no pack any more is copied as it is. *ret_end 0: it has no records.
 */
static int copy_measure(struct copy *c, uint64_t end, uint64_t *ret_end, struct err *err)
{
	uint8_t bytes[PACK_HEADER_BYTES];
	struct err why = { 0 };
	uint64_t size;

	*ret_end = 0;
	TRY(io_size(c->from_f, &size, err));
	c->bytes = size;
	if (size < PACK_HEADER_BYTES) {
		c->rules->bad(c->number, 0, "the pack is shorter than its header", c->rules->arg);
		return 0;
	}
	TRY(io_pread(c->from_f, bytes, sizeof bytes, 0, err));
	if (pack_header_decode(&c->header, bytes, c->number, &why) != 0) {
		c->header.id.number = 0;
		c->rules->bad(c->number, 0, why.msg, c->rules->arg);
		return 0;
	}
	if (c->header.mark == PACK_MARK_SEALED) {
		if (size >= PACK_HEADER_BYTES + PACK_FOOTER_BYTES)
			*ret_end = size - PACK_FOOTER_BYTES;
		else
			c->rules->bad(c->number, size, "the pack ends before its footer",
				      c->rules->arg);
		return 0;
	}
	if (end > size)
		c->rules->bad(c->number, size, "the pack ends before its last sample",
			      c->rules->arg);
	*ret_end = c->bytes = end < size ? end : size;
	return 0;
}

static int copy_all(struct copy *c, uint64_t end, const char *path, struct pack_copied *ret,
		    struct err *err)
{
	uint64_t records_end;

	TRY(mem_try_alloc(&c->piece, PACK_WINDOW_BYTES, err));
	TRY(stamp_of(c->from_f, &ret->stamp, err));
	TRY(copy_measure(c, end, &records_end, err));
	TRY(c->to->open(c->to, path, O_RDWR | O_CREAT | O_TRUNC, &c->to_f, err));
	TRY(copy_bytes(c, err));
	if (records_end > PACK_HEADER_BYTES)
		TRY(copy_records(c, records_end, err));
	TRY(hash_copy(c, ret->sha256, err));
	ret->bytes = c->bytes;
	return c->to->sync(c->to, c->to_f, err);
}

int packs_copy(struct packs *p, uint32_t pack, uint64_t end, struct io *to, const char *path,
	       const struct pack_copy_rules *rules, struct pack_copied *ret, struct err *err)
{
	struct copy c = { .p = p, .number = pack, .rules = rules, .to = to };
	char name[PACK_NAME_BYTES];
	int rc;

	pack_name(name, pack);
	TRY(p->io->open(p->io, name, O_RDONLY, &c.from_f, err));
	rc = copy_all(&c, end, path, ret, err);
	p->io->close(p->io, c.from_f);
	if (c.to_f)
		to->close(to, c.to_f);
	if (rc != 0 && c.to_f)
		(void)to->unlink(to, path, NULL);
	free(c.piece);
	return rc != 0 && err ? err_add(err, "pack %" PRIu32, pack) : rc;
}
