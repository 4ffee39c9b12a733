#ifndef SERVICE_RULE_SPLIT_H
#define SERVICE_RULE_SPLIT_H
#include <stdbool.h>
#include <stdint.h>

/*
 * Which rules to scan with which: a set of rules costs what its rules cost together on every
 * file that one of them may match. So rules that may match much and rules that may match little
 * are best compiled as sets of their own, and a file is scanned with those that want it.
 *
 * Rules are in groups, in order of what they leave of the corpus: group 0 the least. A part is
 * some groups in a row. What parts would cost is reckoned from the files that are known so far,
 * and held against one set of all rules, which is there already; being wrong costs time alone.
 */
enum {
	RULE_GROUPS = 64,
	RULE_PARTS_MAX = 6,    /* a child has slots for two such jobs */
	RULE_FILE_BYTES = 8192 /* what beginning with a file costs, in bytes of scanning */
};
#define RULE_EVERY_GROUP UINT64_MAX /* not asked: any rule may match */

struct rule_split {
	unsigned group_count;
	uint32_t rules[RULE_GROUPS];   /* rules of each … */
	uint32_t strings[RULE_GROUPS]; /* … and their strings */
	uint64_t parsing;              /* groups with a rule that asks a module */
	/* [i][n]: bytes of files whose first group from i on is n. */
	uint64_t bytes[RULE_GROUPS][RULE_GROUPS];
};

/* A file that these groups want. */
void rule_split_add(struct rule_split *s, uint64_t groups, uint64_t len);
/* The files of both; they have the same groups. */
void rule_split_join(struct rule_split *s, const struct rule_split *more);

/*
 * Nanoseconds of a processor that scanning `bytes` takes with so many rules as one set.
 * Measured with YARA-X 1.22 on 2 GHz: within a factor of two.
 */
double rule_scan_ns(double bytes, uint64_t rules, uint64_t strings, bool parses);

/*
 * The best parts, where there are `times` as many files as were added. Fills ret with the groups
 * of each, lowest first; returns how many, 0 or 2 to RULE_PARTS_MAX. 0: there is one group, or one
 * set of all is as good or nearly so; with `always` only the former.
 */
unsigned rule_split_choose(const struct rule_split *s, double times, bool always,
			   uint64_t ret[RULE_PARTS_MAX]);
#endif
