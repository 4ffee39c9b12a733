/*
 * The parent believes nothing of an answer about many samples either: this program is its
 * own child, and one that lies (`test_scan_many_lies scan-child`).
 */
#include "scan_liar.h"
#include "scan/many.h"

/* The lie is the number of it: the first item's offset. */
static const char *const lies_about_many[] = {
	"nothing",
	"an item twice",
	"a rule twice in two packets",
	"an item of before",
	"an item of later",
	"an item of none",
	"slots out of order",
	"a slot not asked for",
	"a rule that is private",
	"a match outside",
	"fewer done than before",
	"more done than there are",
	"done too early",
	"nothing new",
	"half a head",
	"half a hit",
	"another stream",
	"another status",
	"a failure of a set not asked for",
	"a failure with matches",
	"a failure twice",
	"a hit after a failure",
	"an end without news",
	"a hit of an item after the end",
};

/* From here on they are of one that may end early. */
enum {
	LIES_ABOUT_ALL = COUNT_OF(lies_about_many) - 2
};

struct many_lie {
	struct packet_found found;
	struct packet_hit hit;
	struct packet_match match;
};

/*
 * Of three items of 5 bytes, for slots 0 and 2. Honestly: rule 0 of slot 0 in items 0 and 2,
 * told in two packets, and slot 2 failed with item 2.
 */
static void lie_about_found(uint32_t seq, uint64_t number)
{
	const char *lie = number < COUNT_OF(lies_about_many) ? lies_about_many[number] : "";
	struct many_lie first = { { 1, 0, 1 }, { 0, 0, 1, 0, 0, STATUS_OK }, { 0, 5 } };
	struct many_lie second = { { 3, 0, 1 }, { 0, 0, 1, 0, 2, STATUS_OK }, { 0, 5 } };
	struct packet_hit failure = { .slot = 2, .item = 2, .status = STATUS_FAILED };
	struct packet_head data = { .type = PACKET_DATA, .stream = STREAM_FOUND, .seq = seq };
	struct packet_head end = { .type = PACKET_DONE, .seq = seq };
	size_t first_bytes = sizeof first;

	if (about(lie, "an end without news"))
		second.found.done = 1;
	else if (about(lie, "a hit of an item after the end"))
		second.found.done = 2;
	if (about(lie, "an item twice")) {
		second.hit.item = 0;
	} else if (about(lie, "a rule twice in two packets")) {
		first.found.done = 0;
		second.hit.item = 0;
	} else if (about(lie, "an item of before")) {
		first.found.done = 2;
		first.hit.item = 1;
		second.hit.item = 1;
	} else if (about(lie, "an item of later")) {
		first.hit.item = 2;
	} else if (about(lie, "an item of none")) {
		second.hit.item = 3;
	} else if (about(lie, "slots out of order")) {
		failure.slot = SCAN_EVERY_SLOT;
		failure.item = 1;
	} else if (about(lie, "a slot not asked for")) {
		first.hit.slot = 1;
	} else if (about(lie, "a rule that is private")) {
		first.hit.rule = 1;
	} else if (about(lie, "a match outside")) {
		first.match.len = 6;
	} else if (about(lie, "fewer done than before")) {
		second.found.done = 0;
	} else if (about(lie, "more done than there are")) {
		second.found.done = 4;
	} else if (about(lie, "done too early")) {
		second.found.done = 2;
	} else if (about(lie, "nothing new")) {
		first.found.done = 0;
		first_bytes = sizeof first.found;
	} else if (about(lie, "half a head")) {
		first_bytes = sizeof first.found - 1;
	} else if (about(lie, "half a hit")) {
		first_bytes--;
	} else if (about(lie, "another stream")) {
		data.stream = STREAM_HITS;
	} else if (about(lie, "another status")) {
		end.status = STATUS_FAILED;
	} else if (about(lie, "a failure of a set not asked for")) {
		failure.slot = 3;
	} else if (about(lie, "a failure with matches")) {
		failure.matches = 1;
	} else if (about(lie, "a failure twice")) {
		second.hit = failure;
		second.hit.matches = 0;
	} else if (about(lie, "a hit after a failure")) {
		failure = (struct packet_hit){ .slot = 0, .item = 2, .status = STATUS_FAILED };
	}
	tell(data, &first, first_bytes, NULL, 0);
	if (about(lie, "a failure twice"))
		tell(end, &second, sizeof second - sizeof second.match, &failure, sizeof failure);
	else
		tell(end, &second, sizeof second, &failure, sizeof failure);
}

static int liar(void)
{
	struct packet p;

	greet();
	while (packet_recv(PROTOCOL_FD, in, PACKET_FDS_MAX, INT64_MAX, &p, NULL) == 0) {
		struct packet_item item;

		if (p.head.type == PACKET_COMPILE) {
			lie_about_rules(p.head.seq, "");
		} else if (p.head.type == PACKET_MANY) {
			memcpy(&item, p.body + sizeof(struct packet_many), sizeof item);
			lie_about_found(p.head.seq, item.offset);
		} else {
			tell((struct packet_head){ .type = PACKET_DONE, .seq = p.head.seq }, NULL,
			     0, NULL, 0);
		}
		for (int i = 0; i < p.head.fds; i++)
			close(p.fds[i]);
	}
	return 0;
}

/* With `ms` it may end early. */
static int many_with(struct scan_child *child, uint64_t number, uint32_t ms,
		     struct scan_found *found, struct err *err)
{
	struct scan_item items[3] = { { number, 5, 1 << 0 | 1 << 2, 0 },
				      { 0, 5, 1 << 0 | 1 << 2, 0 },
				      { 0, 5, 1 << 0 | 1 << 2, 0 } };
	int fd = STDIN_FILENO, rc;

	assert_int_equal(scan_many_send_for(child, &fd, 1, items, 3, ms, err), 0);
	do {
		rc = scan_many_recv(child, found, err);
	} while (rc == 0 && !found->is_last);
	return rc;
}

static void lies_about_many_are_deadly(void **state)
{
	struct scan_found found = { 0 };
	uint32_t done, from, to;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lies_about_many); i++) {
		struct scan_child *child = loaded_liar();
		struct err err = { 0 };
		struct scan_rules *rules = NULL;

		assert_int_equal(try_compile(child, "", &rules, &err), 0);
		load(child, 2, rules);
		scan_rules_unref(rules);
		int rc = many_with(child, i, i >= LIES_ABOUT_ALL ? 1 : 0, &found, &err);

		if (i == 0) {
			assert_int_equal(rc, 0);
			assert_int_equal(found.from, 1); /* what was told first, was told then */
			assert_int_equal(found.to, 3);
			assert_int_equal(found.result.hit_count, 1);
			assert_int_equal(found.failure_count, 1);
			assert_int_equal(found.failures[0].slot, 2);
		} else if (rc != -ERR_DIED ||
			   strstr(scan_child_cause(child), "broke the protocol") == NULL) {
			fail_msg("%s: %d %s", lies_about_many[i], rc, err.msg);
		} else {
			/* The page says nothing of this request. */
			assert_true(scan_many_suspects(child, &done, &from, &to));
			assert_int_equal(from, done);
			assert_int_equal(to, 3);
		}
		scan_child_give(pool, child);
	}
	scan_found_release(&found);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lies_about_many_are_deadly),
	};

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0)
		return liar();
	return cmocka_run_group_tests(tests, open_group, close_group);
}
