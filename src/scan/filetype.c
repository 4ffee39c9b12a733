#include "scan/filetype.h"
#include <stddef.h>

enum entry {
#define FILETYPE(name, vt, tag, description, extension, tags) ENTRY_##name,
#include "filetype.def"
	ENTRY_COUNT
};

static const struct filetype types[ENTRY_COUNT] = {
#define FILETYPE(name, vt, tag, description, extension, tags)                                      \
	[ENTRY_##name] = { vt, tag, description, extension, tags },
#include "filetype.def"
};

/* A test on libmagic's words; those that are not empty must hold. */
struct words {
	struct str starts;
	struct str has;
	struct str mime;
	enum entry entry;
};

static const struct words words[] = {
#define STARTS(text, name) { .starts = STR(text), .entry = ENTRY_##name },
#define HAS(text, name) { .has = STR(text), .entry = ENTRY_##name },
#define BOTH(start, text, name) { .starts = STR(start), .has = STR(text), .entry = ENTRY_##name },
#define MIME(type, name) { .mime = STR(type), .entry = ENTRY_##name },
#include "filetype.def"
};

static bool contains(struct str text, struct str part)
{
	return part.n == 0 || (text.n >= part.n && memmem(text.p, text.n, part.p, part.n) != NULL);
}

const struct filetype *filetype_of(struct str magic, struct str mime)
{
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		const struct words *w = &words[i];

		if (str_starts(magic, w->starts) && contains(magic, w->has) &&
		    (w->mime.n == 0 || str_eq(mime, w->mime)))
			return &types[w->entry];
	}
	return &types[ENTRY_UNKNOWN];
}

const struct filetype *filetype_by_id(uint32_t vt)
{
	size_t low = 0, high = ENTRY_COUNT;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (types[middle].vt < vt)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ENTRY_COUNT && types[low].vt == vt ? &types[low] : &types[ENTRY_UNKNOWN];
}
