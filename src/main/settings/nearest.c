#include "main/settings.h"

#include <stdio.h>

/*
 * Edits that turn a into b (optimal string alignment: a letter too many, too
 * few, wrong, or two neighbours swapped). Names longer than the table are far.
 */
static unsigned distance(struct str a, struct str b)
{
	unsigned d[SETTING_NAME_MAX + 1][SETTING_NAME_MAX + 1];

	if (a.n > SETTING_NAME_MAX || b.n > SETTING_NAME_MAX)
		return UINT32_MAX;
	for (unsigned i = 0; i <= a.n; i++) {
		for (unsigned j = 0; j <= b.n; j++) {
			unsigned best;

			if (!i || !j) {
				d[i][j] = i + j;
				continue;
			}
			best = d[i - 1][j - 1] + (a.p[i - 1] != b.p[j - 1]);
			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] &&
			    a.p[i - 2] == b.p[j - 1] && d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[a.n][b.n];
}

const char *nearest_name(struct str unknown, const char *const *names, size_t n)
{
	const char *best = NULL;
	unsigned least = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		struct str name = str_of(names[i]);
		unsigned far = distance(unknown, name);

		/* The start of a name is meant to be it, whatever is missing. */
		if (unknown.n >= 3 && str_starts(name, unknown) && far > 2)
			far = 2;
		if (far < least) {
			least = far;
			best = names[i];
		}
	}
	return least <= 2 || least * 3 <= unknown.n ? best : NULL;
}

const char *nearest_hint(struct str unknown, const char *const *names, size_t n, char *ret,
			 size_t ret_bytes)
{
	const char *name = nearest_name(unknown, names, n);

	if (name)
		snprintf(ret, ret_bytes, "; did you mean '%s'?", name);
	else
		ret[0] = 0;
	return ret;
}
