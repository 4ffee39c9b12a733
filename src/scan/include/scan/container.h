#ifndef SCAN_CONTAINER_H
#define SCAN_CONTAINER_H
#include <stdbool.h>
#include "base/str.h"

/*
 * Which samples are containers that unpacking (scan/unpack.h) can open, from what
 * libmagic says. Table: container.def. Pure functions; any thread.
 */
struct container {
	const char *type; /* as in VirusTotal's bundle_info: "ZIP", "GZIP", … */
	/* Compresses a single file: what is inside may be an archive (tar) or that file. */
	bool is_stream;
	/* A ZIP by its bytes: members may be encrypted in a way that a password opens. */
	bool is_zip;
};

/* NULL: not a container. Arguments: see scan_identity. */
const struct container *container_of(struct str magic, struct str mime);
#endif
