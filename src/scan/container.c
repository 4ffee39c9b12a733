#include "scan/container.h"
#include <stddef.h>

static const struct {
	struct str mime;
	struct str starts;
	struct container container;
} rows[] = {
#define CONTAINER(mime, starts, type, is_stream, is_zip)                                           \
	{ STR(mime), STR(starts), { type, is_stream, is_zip } },
#include "container.def"
#undef CONTAINER
};

const struct container *container_of(struct str magic, struct str mime)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if ((rows[i].mime.n == 0 || str_eq(mime, rows[i].mime)) &&
		    str_starts(magic, rows[i].starts))
			return &rows[i].container;
	}
	return NULL;
}
