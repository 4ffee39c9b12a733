#include "manifest.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"

static const char first_line[] = "weir backup 1";

enum {
	FIELDS_MAX = 12, /* of a line */
	PATH_HASH_BYTES = 8,
};

void manifest_release(struct manifest *m)
{
	free(m->packs);
	*m = (struct manifest){ .generation = 0 };
}

void manifest_add_pack(struct manifest *m, const struct manifest_pack *pack)
{
	if (m->pack_count == m->pack_room) {
		m->pack_room = m->pack_room ? 2 * m->pack_room : 64;
		mem_must_grow((void **)&m->packs, m->pack_room, sizeof *m->packs);
	}
	m->packs[m->pack_count++] = *pack;
}

const struct manifest_file *manifest_file(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->file_count; i++) {
		if (strcmp(m->files[i].name, name) == 0)
			return &m->files[i];
	}
	return NULL;
}

const struct manifest_pack *manifest_pack(const struct manifest *m, uint32_t pack)
{
	size_t from = 0, to = m->pack_count;

	while (from < to) {
		size_t at = from + (to - from) / 2;

		if (m->packs[at].pack == pack)
			return &m->packs[at];
		if (m->packs[at].pack < pack)
			from = at + 1;
		else
			to = at;
	}
	return NULL;
}

void manifest_pack_path(char out[MANIFEST_PATH_BYTES], uint32_t pack,
			const uint8_t sha256[SHA256_BYTES])
{
	char hex[2 * PATH_HASH_BYTES + 1];

	hex_encode(sha256, PATH_HASH_BYTES, hex);
	snprintf(out, MANIFEST_PATH_BYTES, "packs/%010" PRIu32 "-%s.pack", pack, hex);
}

/* ---- Writing ---- */

void manifest_print_head(const struct manifest *m, struct buf *out)
{
	buf_addf(out, "%s\nfolder %s\ngeneration %" PRIu64 "\ndate_s %" PRId64 "\nversion %s\n",
		 first_line, m->folder, m->generation, m->date_s, m->version);
}

void manifest_print_pack(const struct manifest_pack *p, struct buf *out)
{
	char hex[2 * SHA256_BYTES + 1];
	const struct pack_stamp *s = &p->stamp;

	hex_encode(p->sha256, SHA256_BYTES, hex);
	buf_addf(out, "pack %" PRIu32 " %s %" PRIu64 " %s %" PRIu64, p->pack, p->path, p->bytes,
		 hex, p->samples);
	buf_addf(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 "\n",
		 s->dev, s->ino, s->size, s->mtime_ns, s->ctime_ns, s->taken_ns);
}

void manifest_print(const struct manifest *m, struct buf *out)
{
	uint8_t sha256[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1];

	manifest_print_head(m, out);
	buf_addf(out, "samples %" PRIu64 " %" PRIu64 "\n", m->samples, m->sample_bytes);
	for (size_t i = 0; i < m->file_count; i++) {
		const struct manifest_file *f = &m->files[i];

		hex_encode(f->sha256, SHA256_BYTES, hex);
		buf_addf(out, "file %s %s %" PRIu64 " %s\n", f->name, f->path, f->bytes, hex);
	}
	for (size_t i = 0; i < m->pack_count; i++)
		manifest_print_pack(&m->packs[i], out);
	sha256_of(buf_str(out).p, out->n, sha256);
	hex_encode(sha256, SHA256_BYTES, hex);
	buf_addf(out, "end %s\n", hex);
}

/* ---- Reading ---- */

struct fields {
	struct str at[FIELDS_MAX];
	size_t n;
};

static bool fields_of(struct str line, struct fields *ret)
{
	ret->n = 0;
	while (ret->n < FIELDS_MAX && str_split(&line, ' ', &ret->at[ret->n]))
		ret->n++;
	return ret->n > 0 && !line.p;
}

static bool take_text(struct str s, char *out, size_t room)
{
	if (s.n == 0 || s.n >= room)
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = 0;
	return true;
}

/* Below the backup's folder, and nowhere else. */
static bool take_path(struct str s, char out[MANIFEST_PATH_BYTES])
{
	return take_text(s, out, MANIFEST_PATH_BYTES) && out[0] != '/' && !strstr(out, "..");
}

static bool take_u64(struct str s, uint64_t *ret)
{
	return str_to_u64(s, UINT64_MAX, ret);
}

static bool take_sha256(struct str s, uint8_t out[SHA256_BYTES])
{
	return hex_decode(s, out, SHA256_BYTES);
}

static bool read_pack(struct manifest *m, const struct fields *f)
{
	struct manifest_pack p = { .pack = 0 };
	struct pack_stamp *s = &p.stamp;
	uint64_t number = 0;
	bool fine = f->n == 12 && str_to_u64(f->at[1], UINT32_MAX, &number) &&
		    take_path(f->at[2], p.path) && take_u64(f->at[3], &p.bytes) &&
		    take_sha256(f->at[4], p.sha256) && take_u64(f->at[5], &p.samples) &&
		    take_u64(f->at[6], &s->dev) && take_u64(f->at[7], &s->ino) &&
		    take_u64(f->at[8], &s->size) && str_to_i64(f->at[9], &s->mtime_ns) &&
		    str_to_i64(f->at[10], &s->ctime_ns) && str_to_i64(f->at[11], &s->taken_ns);

	if (!fine || number == 0 || (m->pack_count && m->packs[m->pack_count - 1].pack >= number))
		return false;
	p.pack = (uint32_t)number;
	manifest_add_pack(m, &p);
	return true;
}

static bool read_file(struct manifest *m, const struct fields *f)
{
	struct manifest_file *file = &m->files[m->file_count];

	if (f->n != 5 || m->file_count == MANIFEST_FILES_MAX ||
	    !take_text(f->at[1], file->name, sizeof file->name) || strchr(file->name, '/') ||
	    file->name[0] == '.' || !take_path(f->at[2], file->path) ||
	    !take_u64(f->at[3], &file->bytes) || !take_sha256(f->at[4], file->sha256))
		return false;
	m->file_count++;
	return true;
}

static bool read_line(struct manifest *m, struct str line, uint64_t number)
{
	struct fields f;

	if (number == 1)
		return str_eq_z(line, first_line);
	if (!fields_of(line, &f))
		return false;
	if (str_eq(f.at[0], STR("pack")))
		return read_pack(m, &f);
	if (str_eq(f.at[0], STR("file")))
		return read_file(m, &f);
	if (str_eq(f.at[0], STR("samples")))
		return f.n == 3 && take_u64(f.at[1], &m->samples) &&
		       take_u64(f.at[2], &m->sample_bytes);
	if (f.n != 2)
		return false;
	if (str_eq(f.at[0], STR("folder")))
		return f.at[1].n == FOLDER_ID_CHARS &&
		       take_text(f.at[1], m->folder, sizeof m->folder);
	if (str_eq(f.at[0], STR("generation")))
		return take_u64(f.at[1], &m->generation);
	if (str_eq(f.at[0], STR("date_s")))
		return str_to_i64(f.at[1], &m->date_s);
	return str_eq(f.at[0], STR("version")) && take_text(f.at[1], m->version, sizeof m->version);
}

/* The text without its last line, which must be the checksum of the rest. */
static int cut_checksum(struct str *text, const char *path, struct err *err)
{
	const size_t end_bytes = sizeof "end " - 1 + 2 * SHA256_BYTES + 1;
	uint8_t want[SHA256_BYTES], have[SHA256_BYTES];
	struct str end;

	if (text->n > end_bytes) {
		end = str_make(text->p + text->n - end_bytes, end_bytes);
		if (str_starts(end, STR("end ")) && end.p[end_bytes - 1] == '\n' &&
		    hex_decode(str_make(end.p + 4, 2 * SHA256_BYTES), want, SHA256_BYTES)) {
			text->n -= end_bytes;
			sha256_of(text->p, text->n, have);
			return memcmp(want, have, SHA256_BYTES) == 0
				       ? 0
				       : err_set(err, ERR_CORRUPT,
						 "'%s' is damaged: it does not fit its checksum",
						 path);
		}
	}
	return err_set(err, ERR_CORRUPT, "'%s' is damaged: its last line is no checksum", path);
}

static int read_text(struct manifest *m, struct str text, const char *path, bool whole,
		     struct err *err)
{
	uint64_t number = 0;

	if (whole)
		TRY(cut_checksum(&text, path, err));
	while (text.n) {
		size_t n = str_find(text, '\n');

		number++;
		/* A line without its end was being written. */
		if (n == text.n || !read_line(m, str_make(text.p, n), number))
			return whole ? err_set(err, ERR_INVALID,
					       "'%s', line %" PRIu64
					       ": this program does not understand it",
					       path, number)
				     : 0;
		text = str_make(text.p + n + 1, text.n - n - 1);
	}
	return 0;
}

int manifest_read(struct manifest *ret, struct io *io, const char *path, bool whole,
		  struct err *err)
{
	AUTO(mem_drop) void *text = NULL;
	struct io_file *f;
	uint64_t size;
	int rc;

	*ret = (struct manifest){ .generation = 0 };
	TRY(io->open(io, path, O_RDONLY, &f, err));
	rc = io_size(f, &size, err);
	if (rc == 0 && size > MANIFEST_BYTES_MAX)
		rc = err_set(err, ERR_TOO_LARGE, "'%s' has more than %d bytes", path,
			     MANIFEST_BYTES_MAX);
	if (rc == 0)
		rc = mem_try_alloc(&text, size + 1, err);
	if (rc == 0)
		rc = io_pread(f, text, size, 0, err);
	io->close(io, f);
	return rc ? rc : read_text(ret, str_make(text, size), path, whole, err);
}
