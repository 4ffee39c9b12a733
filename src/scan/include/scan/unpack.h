#ifndef SCAN_UNPACK_H
#define SCAN_UNPACK_H
#include "scan/scan.h"

/*
 * Containers opened in a scan child, by libarchive. The child has no file to
 * write to: what is inside comes back entry by entry over its socket, and only
 * this side stores it (docs/design/0005-containers.md says why, with figures).
 *
 * The parent believes nothing: records out of order, more than was allowed, an
 * end that does not add up are lies, and the child is killed (ERR_DIED). Names
 * and bytes are the archive's own: hostile.
 */
enum {
	UNPACK_NAME_MAX = 4096, /* bytes of an entry's path; longer ones are cut */
	UNPACK_PASSWORDS_MAX = 4,
	UNPACK_PASSWORD_BYTES_MAX = 256,
	UNPACK_TEXT_MAX = 200, /* of what libarchive says went wrong */
};

struct unpack_limits {
	uint64_t entries_max;     /* of all kinds */
	uint64_t entry_bytes_max; /* one with more is given up */
	uint64_t bytes_max;       /* of all entries together: then all is over */
	uint32_t cpu_ms;          /* processor time of the child: the same */
	uint32_t timeout_ms;      /* waited for the child, all together: then it is killed */
};

struct unpack_request {
	struct unpack_limits limits;
	bool is_stream; /* see struct container */
	/*
	 * Only try the passwords, on the first encrypted file: no entry is told, the
	 * summary says what came of it.
	 */
	bool only_passwords;
	const struct str *passwords; /* tried in this order; no NUL inside */
	size_t password_count;
};

enum unpack_kind {
	UNPACK_FILE,
	UNPACK_FOLDER,
	UNPACK_LINK,  /* symbolic or hard: never followed, has no bytes */
	UNPACK_OTHER, /* device, pipe, socket: no bytes */
};
struct unpack_entry {
	struct str name; /* raw path, as the archive has it; may be empty */
	enum unpack_kind kind;
	bool encrypted;
	bool has_mtime;
	int64_t mtime_s;
};

enum unpack_end {
	UNPACK_WHOLE,
	UNPACK_DAMAGED,   /* the bytes told are what could be read */
	UNPACK_CUT,       /* over a limit: the bytes told are a part */
	UNPACK_ENCRYPTED, /* no password opens it: what was told is nothing */
	UNPACK_ENDS
};

/*
 * Called for each entry: entry, for files any number of bytes, end (files only).
 * One that fails ends the unpacking: scan_unpack returns what it returned, and
 * the child, still at work, is given up.
 */
struct unpack_calls {
	int (*entry)(void *arg, const struct unpack_entry *entry, struct err *err);
	int (*bytes)(void *arg, const void *p, size_t n, struct err *err);
	int (*end)(void *arg, enum unpack_end how, struct err *err);
};

/* Why something is missing; bits. */
enum unpack_missing {
	MISSING_ENTRIES = 1,     /* there are more than entries_max */
	MISSING_ENTRY_BYTES = 2, /* entries larger than entry_bytes_max */
	MISSING_BYTES = 4,       /* more than bytes_max in all */
	MISSING_TIME = 8,        /* more than cpu_ms */
	MISSING_DAMAGED = 16,    /* the container or entries of it are damaged, `text` */
	MISSING_ENCRYPTED = 32,  /* entries that no password opened */
	MISSING_ALL = 63
};

struct unpacked {
	uint64_t entries;               /* told */
	uint64_t bytes;                 /* told */
	uint32_t missing;               /* bits */
	uint64_t encrypted;             /* entries that are encrypted, opened or not */
	uint64_t opened;                /* of those, with one of the passwords */
	char text[UNPACK_TEXT_MAX + 1]; /* printable; "" if there is nothing to say */
};

/*
 * Open the container and tell what is inside. 0 also for damaged and cut ones:
 * ret->missing says so. ERR_DIED, ERR_TIMEOUT: the child is dead, what was told
 * so far stands. ERR_IO: the sample cannot be read.
 */
MUST_USE int scan_unpack(struct scan_child *child, const struct scan_sample *sample,
			 const struct unpack_request *request, const struct unpack_calls *calls,
			 void *arg, struct unpacked *ret, struct err *err);
#endif
