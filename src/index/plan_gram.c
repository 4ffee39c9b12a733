#include "plan_internal.h"

#include "index/gram.h"

/*
 * Rare grams first: each row that is read then leaves fewer documents. How rare one is
 * is guessed from its bytes: -16 times the binary logarithm of a folded byte's share,
 * over 5,900 programs, libraries, scripts and texts of a Debian system that count the
 * same each. Advice only: it changes what is read, never what is found.
 */
/* clang-format off */
static const uint8_t rarity[256] = {
	51, 108, 124, 128, 131, 137, 138, 145, 135, 144, 87, 151, 148, 143, 151, 149,
	150, 162, 155, 161, 157, 165, 160, 166, 160, 166, 166, 138, 168, 170, 163, 167,
	50, 157, 114, 130, 150, 141, 165, 128, 126, 120, 153, 164, 122, 121, 105, 122,
	132, 132, 135, 149, 149, 153, 152, 156, 152, 156, 119, 153, 145, 126, 143, 167,
	161, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 140, 161, 154, 185, 99,
	154, 78, 111, 88, 88, 65, 102, 102, 102, 77, 131, 125, 85, 97, 81, 78,
	91, 145, 76, 77, 73, 96, 122, 125, 129, 113, 129, 150, 141, 146, 167, 191,
	149, 178, 178, 175, 163, 181, 189, 181, 167, 164, 190, 175, 179, 179, 193, 184,
	164, 184, 191, 182, 187, 193, 193, 162, 173, 190, 193, 190, 187, 192, 196, 193,
	166, 185, 190, 193, 184, 192, 180, 190, 178, 173, 194, 154, 182, 192, 194, 194,
	178, 192, 195, 194, 189, 194, 192, 194, 182, 192, 190, 194, 192, 194, 192, 193,
	173, 181, 184, 182, 185, 191, 189, 187, 187, 192, 193, 178, 189, 194, 192, 177,
	157, 154, 183, 174, 171, 191, 195, 158, 154, 186, 128, 192, 178, 176, 193, 191,
	171, 186, 190, 174, 186, 180, 193, 192, 176, 172, 193, 191, 189, 192, 191, 191,
	144, 170, 183, 152, 175, 188, 191, 190, 184, 191, 173, 193, 190, 193, 188, 95,
};
/* clang-format on */

enum {
	WIDE_MAX = 12, /* of wide text, before the plain ones: far more selective than they are */
	APART = 4,     /* bytes: grams that are nearer share some */
};

struct pick {
	uint16_t at;
	uint16_t score;
};

static uint32_t folded_at(const uint8_t *p, unsigned step)
{
	return (uint32_t)gram_fold(p[0]) | (uint32_t)gram_fold(p[step]) << 8 |
	       (uint32_t)gram_fold(p[2 * step]) << 16 | (uint32_t)gram_fold(p[3 * step]) << 24;
}

/* Of one byte four times there is more than its share says. */
static uint16_t score_of(uint32_t folded)
{
	unsigned sum = 0;

	for (unsigned shift = 0; shift < 32; shift += 8)
		sum += rarity[folded >> shift & 0xff];
	return (uint16_t)(folded == (folded >> 8 | folded << 24) ? sum / 4 : sum);
}

/* Zeros alone are wide text, too, and in nearly every sample. */
static bool has_gram(const uint8_t *p, unsigned step)
{
	return step == 1 || ((p[1] | p[3] | p[5] | p[7]) == 0 && (p[0] | p[2] | p[4] | p[6]) != 0);
}

/* Is the gram at `at` one of those picked already? */
static bool is_picked(const uint8_t *p, unsigned step, const struct pick *picks, unsigned n,
		      unsigned at)
{
	for (unsigned i = 0; i < n; i++)
		if (folded_at(p + picks[i].at, step) == folded_at(p + at, step))
			return true;
	return false;
}

/* The rarest of each of up to `max` parts of equal length, rarest first. */
static unsigned pick(const uint8_t *p, size_t n, unsigned step, unsigned max, struct pick *ret)
{
	size_t gram_bytes = step == 1 ? GRAM_FOLD4_BYTES : GRAM_WIDE4_BYTES;
	size_t places = n < gram_bytes ? 0 : n - gram_bytes + 1;
	size_t parts = places < max ? places : max;
	unsigned count = 0;

	for (size_t part = 0; part < parts; part++) {
		size_t end = places * (part + 1) / parts;
		struct pick best = { 0, 0 };

		for (size_t at = places * part / parts; at < end; at++) {
			uint16_t score;

			if (!has_gram(p + at, step))
				continue;
			score = score_of(folded_at(p + at, step));
			if (score > best.score)
				best = (struct pick){ (uint16_t)at, score };
		}
		if (best.score == 0 || is_picked(p, step, ret, count, best.at))
			continue;
		unsigned to = count++;
		for (; to > 0 && ret[to - 1].score < best.score; to--)
			ret[to] = ret[to - 1];
		ret[to] = best;
	}
	return count;
}

/* Append them, those that share bytes with an earlier one after the others. */
static unsigned spread(const struct pick *picks, unsigned n, uint16_t flag, uint16_t *ret,
		       unsigned count)
{
	unsigned first = count;
	bool done[PLAN_GRAMS_MAX] = { false };

	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < n; i++) {
			bool is_near = false;

			for (unsigned k = first; k < count && round == 0; k++) {
				int gap = (ret[k] & ~PLAN_GRAM_WIDE) - picks[i].at;

				is_near |= gap > -APART && gap < APART;
			}
			if (done[i] || is_near)
				continue;
			done[i] = true;
			ret[count++] = (uint16_t)(picks[i].at | flag);
		}
	}
	return count;
}

unsigned plan_gram_order(const uint8_t *p, size_t n, uint16_t ret[PLAN_GRAMS_MAX])
{
	struct pick picks[PLAN_GRAMS_MAX];
	unsigned wide = pick(p, n, 2, WIDE_MAX, picks);
	unsigned count = spread(picks, wide, PLAN_GRAM_WIDE, ret, 0);
	unsigned plain = pick(p, n, 1, PLAN_GRAMS_MAX - wide, picks);

	count = spread(picks, plain, 0, ret, count);
	REQUIRE(count > 0 && count <= PLAN_GRAMS_MAX);
	return count;
}
