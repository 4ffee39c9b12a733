#include "store/filter.h"

static unsigned char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

/* The classic walk with one point of return: linear in practice, never recursive. */
bool filter_glob(struct str pattern, struct str s)
{
	size_t p = 0, i = 0;
	size_t star = SIZE_MAX, mark = 0;

	while (i < s.n) {
		if (p < pattern.n && pattern.p[p] == FILTER_STAR) {
			star = p++;
			mark = i;
		} else if (p < pattern.n && fold(pattern.p[p]) == fold(s.p[i])) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == FILTER_STAR)
		p++;
	return p == pattern.n;
}

static size_t find_nocase(struct str s, size_t from, struct str what)
{
	for (size_t i = from; what.n <= s.n && i <= s.n - what.n; i++) {
		size_t k = 0;

		while (k < what.n && fold(s.p[i + k]) == fold(what.p[k]))
			k++;
		if (k == what.n)
			return i;
	}
	return SIZE_MAX;
}

bool filter_within(struct str pattern, struct str s)
{
	size_t at = 0;
	size_t start = 0;

	/* The parts between stars, each after the one before: leftmost is always right. */
	for (size_t i = 0; i <= pattern.n; i++) {
		if (i < pattern.n && pattern.p[i] != FILTER_STAR)
			continue;
		struct str part = { pattern.p + start, i - start };
		if (part.n > 0) {
			size_t found = find_nocase(s, at, part);

			if (found == SIZE_MAX)
				return false;
			at = found + part.n;
		}
		start = i + 1;
	}
	return true;
}

bool filter_words_within(const struct filter_node *term, struct str s)
{
	for (uint32_t i = 0; i < term->word_count; i++)
		if (!filter_within(term->words[i], s))
			return false;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

void filter_tag_normalise(struct buf *out, struct str tag)
{
	bool blank = false;
	bool any = false;

	for (size_t i = 0; i < tag.n; i++) {
		if (is_blank(tag.p[i])) {
			blank = any;
			continue;
		}
		if (blank)
			buf_add_c(out, '_');
		blank = false;
		any = true;
		buf_add_c(out, (char)fold(tag.p[i]));
	}
}
