#ifndef ARCHIVE_FIXTURE_H
#define ARCHIVE_FIXTURE_H
/* Archives made in memory by libarchive's writers, for tests of those that read them. */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct made {
	char *bytes; /* owned: free() */
	size_t n;
};

struct member {
	const char *name;
	const char *bytes;
	size_t n;
	unsigned type;    /* 0: a file; else AE_IF… */
	const char *link; /* of AE_IFLNK; with type 0: a hard link to it */
};

enum {
	MADE_BYTES_MAX = 64 << 20
};

struct recipe {
	const char *format; /* of archive_write_set_format_by_name; NULL: raw */
	const char *filter; /* of archive_write_add_filter_by_name; NULL: none */
	const char *options;
	const char *password;
};

/* NULL bytes: this libarchive cannot write it. */
static inline struct made archive_make(const struct recipe *r, const struct member *members,
				       size_t count)
{
	struct archive *a = archive_write_new();
	struct made made = { malloc(MADE_BYTES_MAX), 0 };
	int rc = r->format ? archive_write_set_format_by_name(a, r->format)
			   : archive_write_set_format_raw(a);

	if (rc == ARCHIVE_OK && r->filter)
		rc = archive_write_add_filter_by_name(a, r->filter);
	if (rc == ARCHIVE_OK && r->password)
		rc = archive_write_set_passphrase(a, r->password);
	if (rc == ARCHIVE_OK && r->options)
		rc = archive_write_set_options(a, r->options);
	(void)archive_write_set_bytes_per_block(a, 512);
	if (rc == ARCHIVE_OK)
		rc = archive_write_open_memory(a, made.bytes, MADE_BYTES_MAX, &made.n);
	for (size_t i = 0; i < count && rc == ARCHIVE_OK; i++) {
		struct archive_entry *e = archive_entry_new();
		const struct member *m = &members[i];

		archive_entry_set_pathname(e, m->name);
		archive_entry_set_filetype(e, m->type ? m->type : AE_IFREG);
		archive_entry_set_perm(e, 0644);
		archive_entry_set_mtime(e, 1600000000 + (time_t)i, 0);
		if (m->type == AE_IFLNK)
			archive_entry_set_symlink(e, m->link);
		else if (m->link)
			archive_entry_set_hardlink(e, m->link);
		else if (m->type == 0)
			archive_entry_set_size(e, (la_int64_t)m->n);
		if (m->type == AE_IFCHR)
			archive_entry_set_rdev(e, 0x0101);
		rc = archive_write_header(a, e);
		if (rc == ARCHIVE_OK && m->n > 0 &&
		    archive_write_data(a, m->bytes, m->n) != (la_ssize_t)m->n)
			rc = ARCHIVE_FATAL;
		archive_entry_free(e);
	}
	if (rc == ARCHIVE_OK)
		rc = archive_write_close(a);
	if (rc != ARCHIVE_OK) {
		fprintf(stderr, "%s %s: %s\n", r->format ? r->format : "raw",
			r->filter ? r->filter : "", archive_error_string(a));
		free(made.bytes);
		made = (struct made){ NULL, 0 };
	}
	archive_write_free(a);
	return made;
}
#endif
