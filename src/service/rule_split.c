#include "rule_split.h"

#include "base/err.h"

enum {
	/*
	 * The engine looks for few patterns in a faster way. How many those are depends on what
	 * they are; parts must pay also where we are wrong: the whole is taken for fast, they are
	 * not.
	 */
	FEW_PATTERNS = 12,
	FEW_PATTERNS_SURE = 6
};

/*
 * What a byte costs: of itself, where there are many patterns, for each rule or string, and for
 * modules that parse it. Parsing takes time for programs alone; half of the bytes of a corpus are.
 */
#define BYTE_NS 0.4
#define MANY_NS 1.0
#define PATTERN_NS 0.005
#define PARSE_NS 2.2
/* Compiling a part, and loading it into children. */
#define PART_NS 10e6
#define PART_PATTERN_NS 0.2e6
/* Less is not worth it: of the whole, and at all. */
#define GAIN_SHARE 0.25
#define GAIN_NS 50e6

void rule_split_add(struct rule_split *s, uint64_t groups, uint64_t len)
{
	for (unsigned i = 0; i < s->group_count; i++) {
		uint64_t from = groups >> i;

		if (!from)
			return;
		s->bytes[i][i + (unsigned)__builtin_ctzll(from)] += len + RULE_FILE_BYTES;
	}
}

void rule_split_join(struct rule_split *s, const struct rule_split *more)
{
	REQUIRE(s->group_count == more->group_count);
	for (unsigned i = 0; i < s->group_count; i++) {
		for (unsigned n = i; n < s->group_count; n++)
			s->bytes[i][n] += more->bytes[i][n];
	}
}

static double scan_ns(double bytes, uint64_t patterns, bool parses, uint64_t few)
{
	return bytes * (BYTE_NS + PATTERN_NS * (double)patterns + (patterns > few ? MANY_NS : 0) +
			(parses ? PARSE_NS : 0));
}

double rule_scan_ns(double bytes, uint64_t rules, uint64_t strings, bool parses)
{
	return scan_ns(bytes, rules + strings, parses, FEW_PATTERNS);
}

/* What the groups [from, to) are together. */
struct span {
	uint64_t rules, strings;
	double bytes;
	bool parses;
};

static struct span span_of(const struct rule_split *s, double times, unsigned from, unsigned to)
{
	struct span span = { 0 };
	uint64_t bytes = 0;

	for (unsigned g = from; g < to; g++) {
		span.rules += s->rules[g];
		span.strings += s->strings[g];
		span.parses |= s->parsing >> g & 1;
		bytes += s->bytes[from][g];
	}
	span.bytes = times * (double)bytes;
	return span;
}

static double part_ns(const struct rule_split *s, double times, unsigned from, unsigned to)
{
	struct span span = span_of(s, times, from, to);
	uint64_t patterns = span.rules + span.strings;

	return scan_ns(span.bytes, patterns, span.parses, FEW_PATTERNS_SURE) + PART_NS +
	       PART_PATTERN_NS * (double)patterns;
}

/* By parts and the groups they have: the least they cost, and where the last of them begins. */
struct best {
	double ns[RULE_PARTS_MAX + 1][RULE_GROUPS + 1];
	unsigned from[RULE_PARTS_MAX + 1][RULE_GROUPS + 1];
};

static void choose(const struct rule_split *s, double times, struct best *best)
{
	for (unsigned to = 1; to <= s->group_count; to++)
		best->ns[1][to] = part_ns(s, times, 0, to);
	for (unsigned from = 1; from < s->group_count; from++) {
		for (unsigned to = from + 1; to <= s->group_count; to++) {
			double last = part_ns(s, times, from, to);

			for (unsigned parts = 2; parts <= RULE_PARTS_MAX && parts - 1 <= from;
			     parts++) {
				double ns = best->ns[parts - 1][from] + last;

				if (best->from[parts][to] && ns >= best->ns[parts][to])
					continue;
				best->ns[parts][to] = ns;
				best->from[parts][to] = from;
			}
		}
	}
}

/* Bits [from, to). */
static uint64_t bits(unsigned from, unsigned to)
{
	return (to == RULE_GROUPS ? UINT64_MAX : (UINT64_C(1) << to) - 1) &
	       ~((UINT64_C(1) << from) - 1);
}

unsigned rule_split_choose(const struct rule_split *s, double times, bool always,
			   uint64_t ret[RULE_PARTS_MAX])
{
	struct best best = { 0 };
	struct span all = span_of(s, times, 0, s->group_count);
	double whole = rule_scan_ns(all.bytes, all.rules, all.strings, all.parses), least = whole;
	unsigned count = 0, to = s->group_count;

	REQUIRE(s->group_count <= RULE_GROUPS);
	choose(s, times, &best);
	for (unsigned parts = 2; parts <= RULE_PARTS_MAX && parts <= s->group_count; parts++) {
		if (best.ns[parts][to] >= least && !(always && count == 0))
			continue;
		least = best.ns[parts][to];
		count = parts;
	}
	if (!always && (whole - least < GAIN_NS || whole - least < GAIN_SHARE * whole))
		return 0;
	for (unsigned part = count; part > 0; part--) {
		unsigned from = part > 1 ? best.from[part][to] : 0;

		ret[part - 1] = bits(from, to);
		to = from;
	}
	return count;
}
