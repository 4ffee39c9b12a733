/*
 * The parent believes nothing: this program is its own child, and one that
 * lies (`test_scan_lies scan-child`). What it shall lie about it is told in the
 * namespace of a source or in the file name of a scan.
 */
#include "scan_liar.h"
#include <sys/socket.h>

/* Honestly: rule 0 of slot 0 with matches 0+1 and 1+1. */
static void lie_about_hits(uint32_t seq, const char *lie)
{
	struct {
		struct packet_hit head;
		struct packet_match matches[2];
	} hit[2] = { { { 0, 0, 2, 0, 0, 0 }, { { 0, 1 }, { 1, 1 } } } };
	size_t bytes = sizeof hit[0];
	struct packet_scanned scanned = { 1 };
	struct packet_head end = { .type = PACKET_DONE, .seq = seq };

	if (about(lie, "slot"))
		hit[0].head.slot = SCAN_SLOTS;
	else if (about(lie, "empty slot"))
		hit[0].head.slot = 1;
	else if (about(lie, "rule"))
		hit[0].head.rule = 2;
	else if (about(lie, "private rule"))
		hit[0].head.rule = 1;
	else if (about(lie, "count"))
		hit[0].head.matches = 3;
	else if (about(lie, "count max"))
		hit[0].head.matches = SCAN_MATCHES_MAX + 1;
	else if (about(lie, "cut"))
		hit[0].head.cut = 2;
	else if (about(lie, "offset"))
		hit[0].matches[1].offset = 5;
	else if (about(lie, "offset overflow"))
		hit[0].matches[1].offset = UINT64_MAX;
	else if (about(lie, "len overflow"))
		hit[0].matches[1].len = UINT64_MAX;
	else if (about(lie, "order"))
		hit[0].matches[1].offset = 0;
	else if (about(lie, "half a hit"))
		bytes -= 1;
	else if (about(lie, "seq"))
		end.seq++;
	else if (about(lie, "type"))
		end.type = PACKET_REFUSED;
	else if (about(lie, "status"))
		end.status = STATUS_REFUSED;
	if (about(lie, "twice")) {
		hit[1] = hit[0];
		bytes = sizeof hit;
	}
	if (about(lie, "stream"))
		tell((struct packet_head){ .type = PACKET_DATA, .stream = STREAM_CODE, .seq = seq },
		     hit, bytes, NULL, 0);
	if (about(lie, "short packet")) {
		if (send(PROTOCOL_FD, "x", 1, 0) != 1)
			_exit(1);
		return;
	}
	if (about(lie, "long packet")) {
		static char large[PACKET_BYTES_MAX + 100];

		if (send(PROTOCOL_FD, large, sizeof large, 0) < 0)
			_exit(1);
		return;
	}
	if (about(lie, "descriptor")) {
		int fd = 1;

		end.fds = 1;
		(void)!packet_send(PROTOCOL_FD, end, NULL, 0, &fd, -1, NULL);
		return;
	}
	if (about(lie, "silence")) {
		close(PROTOCOL_FD);
		pause();
	}
	if (about(lie, "no time"))
		tell(end, NULL, 0, NULL, 0);
	else
		tell(end, &scanned, sizeof scanned, hit, bytes);
}

/*
 * What is said of sample number so and so: texts of DONE, and facts before them;
 * what is wrong with it, or NULL.
 */
static const struct identity_row {
	const char *name;
	struct str facts, texts;
	enum packet_stream stream;
	bool is_honest;
	uint32_t features_version;
} identities[] = {
	{ "nothing known", STR(""), STR("a\0b\0\0\0\0"), STREAM_NONE, true, 0 },
	{ "all known", STR("{\"tlsh\":\"T1\",\"pe_info\":{\"x\":[1]}}"),
	  STR("a\0b\0003:a:b\00064bits overlay\0\0"), STREAM_FACTS, true, 0 },
	{ "no facts but ssdeep", STR("{}"), STR("a\0b\0003:a:b\0\0why\0"), STREAM_FACTS, true, 0 },
	{ "bytes that are not UTF-8", STR(""), STR("\xff\0\xfe\0\0\0\0"), STREAM_NONE, true, 0 },
	{ "no time", STR(""), STR(""), STREAM_NONE, false, 0 },
	{ "no texts", STR(""), STR(""), STREAM_NONE, false, 0 },
	{ "one text cut", STR(""), STR("a"), STREAM_NONE, false, 0 },
	{ "one text", STR(""), STR("a\0"), STREAM_NONE, false, 0 },
	{ "four texts", STR(""), STR("a\0b\0\0\0"), STREAM_NONE, false, 0 },
	{ "the last one cut", STR(""), STR("a\0b\0\0\0c"), STREAM_NONE, false, 0 },
	{ "six texts", STR(""), STR("a\0b\0\0\0\0\0"), STREAM_NONE, false, 0 },
	{ "facts that are no JSON", STR("{\"tlsh\":}"), STR("a\0b\0\0\0\0"), STREAM_FACTS, false,
	  0 },
	{ "facts that are a list", STR("[1]"), STR("a\0b\0\0\0\0"), STREAM_FACTS, false, 0 },
	{ "facts that end early", STR("{\"tlsh\":1"), STR("a\0b\0\0\0\0"), STREAM_FACTS, false, 0 },
	{ "facts that break out", STR("{\"tlsh\":1},\"x\":{}"), STR("a\0b\0\0\0\0"), STREAM_FACTS,
	  false, 0 },
	{ "a member that is no fact", STR("{\"sha256\":\"\"}"), STR("a\0b\0\0\0\0"), STREAM_FACTS,
	  false, 0 },
	{ "a fact in other letters", STR("{\"\\u0074lsh\":1}"), STR("a\0b\0\0\0\0"), STREAM_FACTS,
	  false, 0 },
	{ "a fact twice", STR("{\"tlsh\":1,\"tlsh\":2}"), STR("a\0b\0\0\0\0"), STREAM_FACTS, false,
	  0 },
	{ "ssdeep twice", STR("{\"ssdeep\":1}"), STR("a\0b\0003:a:b\0\0\0"), STREAM_FACTS, false,
	  0 },
	{ "facts not UTF-8", STR("{\"tlsh\":\"\xff\"}"), STR("a\0b\0\0\0\0"), STREAM_FACTS, false,
	  0 },
	{ "a fuzzy hash with a quote", STR("{}"), STR("a\0b\0003:\"\0\0\0"), STREAM_FACTS, false,
	  0 },
	{ "tags with a quote", STR("{}"), STR("a\0b\0\0x\"y\0\0"), STREAM_FACTS, false, 0 },
	{ "features", STR("12345678\1\1\1\1\1\1\1\x7f"), STR("a\0b\0\0\0\0"), STREAM_FEATURES, true,
	  SCAN_FEATURES_VERSION },
	{ "no features", STR(""), STR("a\0b\0\0\0\0"), STREAM_NONE, true, SCAN_FEATURES_VERSION },
	{ "features of no version", STR("12345678"), STR("a\0b\0\0\0\0"), STREAM_FEATURES, false,
	  0 },
	{ "features of another", STR("12345678"), STR("a\0b\0\0\0\0"), STREAM_FEATURES, false,
	  SCAN_FEATURES_VERSION + 1 },
	{ "half a feature", STR("1234567890"), STR("a\0b\0\0\0\0"), STREAM_FEATURES, false,
	  SCAN_FEATURES_VERSION },
	{ "a feature twice", STR("1234567812345678"), STR("a\0b\0\0\0\0"), STREAM_FEATURES, false,
	  SCAN_FEATURES_VERSION },
	{ "data of another kind", STR("{}"), STR("a\0b\0\0\0\0"), STREAM_HITS, false, 0 },
};

static void lie_about_identity(uint32_t seq, uint64_t number)
{
	const struct identity_row *row = &identities[number];

	if (row->facts.n > 0)
		tell((struct packet_head){ .type = PACKET_DATA,
					   .seq = seq,
					   .stream = (uint8_t)row->stream },
		     row->facts.p, row->facts.n, NULL, 0);
	struct packet_identified done = { .examine_us = 1,
					  .features_version = row->features_version };
	bool is_short = strcmp(row->name, "no time") == 0;

	tell((struct packet_head){ .type = PACKET_DONE, .seq = seq }, &done,
	     is_short ? 7 : sizeof done, row->texts.p, row->texts.n);
}

/* Facts without end: as long as somebody takes them. */
static void tell_facts_for_ever(uint32_t seq)
{
	static char piece[PACKET_BYTES_MAX / 2];

	memset(piece, ' ', sizeof piece);
	for (;;)
		tell((struct packet_head){ .type = PACKET_DATA,
					   .seq = seq,
					   .stream = STREAM_FACTS },
		     piece, sizeof piece, NULL, 0);
}

/* A record of an answer to UNPACK, appended to a packet's body. */
static size_t add_record(uint8_t *to, size_t at, struct packet_record head, const void *p, size_t n)
{
	memcpy(to + at, &head, sizeof head);
	if (n > 0)
		memcpy(to + at + sizeof head, p, n);
	return at + sizeof head + n;
}

/* Honestly: a file "n" with the byte 'x', and a folder. The lie is in the first password. */
static void lie_about_contents(uint32_t seq, const char *lie)
{
	static uint8_t body[PACKET_BYTES_MAX], zeros[2 * UNPACK_NAME_MAX];
	struct packet_record file = { RECORD_ENTRY, UNPACK_FILE, RECORD_MTIME, 9 };
	struct packet_record folder = { RECORD_ENTRY, UNPACK_FOLDER, 0, 9 };
	struct packet_record bytes = { RECORD_BYTES, 0, 0, 1 }, end = { RECORD_END, 0, 0, 0 };
	struct packet_unpacked done = { .entries = 2, .bytes = 1 };
	struct packet_head data = { .type = PACKET_DATA, .stream = STREAM_RECORDS, .seq = seq };
	struct packet_head over = { .type = PACKET_DONE, .seq = seq };
	static char text[UNPACK_TEXT_MAX + 1] = "text";
	size_t text_bytes = about(lie, "long text") ? sizeof text : 4;
	size_t n = 0, done_bytes = sizeof done;
	char entry[9] = "12345678n";

	if (about(lie, "kind of entry"))
		file.how = UNPACK_OTHER + 1;
	else if (about(lie, "flags"))
		file.flags = 4;
	else if (about(lie, "no date"))
		folder.bytes = 7;
	else if (about(lie, "record size"))
		folder.bytes = UINT32_MAX;
	else if (about(lie, "kind of record"))
		folder.kind = 3;
	else if (about(lie, "end"))
		end.how = UNPACK_ENDS;
	else if (about(lie, "end with bytes"))
		end.bytes = 1;
	else if (about(lie, "empty bytes"))
		bytes.bytes = 0;
	else if (about(lie, "entries"))
		done.entries = 3;
	else if (about(lie, "bytes"))
		done.bytes = 2;
	else if (about(lie, "opened"))
		done.opened = 1;
	else if (about(lie, "missing"))
		done.missing = MISSING_ALL + 1;
	else if (about(lie, "short end"))
		done_bytes--;
	else if (about(lie, "stream"))
		data.stream = STREAM_HITS;
	else if (about(lie, "status"))
		over.status = STATUS_REFUSED;
	else if (about(lie, "encrypted"))
		file.flags = RECORD_ENCRYPTED;
	if (about(lie, "bytes of nothing"))
		n = add_record(body, n, bytes, "x", 1);
	else if (about(lie, "end of nothing"))
		n = add_record(body, n, end, NULL, 0);
	n = add_record(body, n, file, entry, 9);
	n = add_record(body, n, bytes, "x", bytes.bytes);
	for (int i = 0; about(lie, "too many bytes") && i < 10; i++)
		n = add_record(body, n, bytes, "x", 1);
	if (about(lie, "too many bytes at once"))
		n = add_record(body, n, (struct packet_record){ RECORD_BYTES, 0, 0, 1000 }, zeros,
			       1000);
	if (!about(lie, "no end"))
		n = add_record(body, n, end, "x", end.bytes);
	for (int i = 0; i < (about(lie, "too many entries") ? 10 : 1); i++)
		n = add_record(body, n, folder, entry, folder.bytes > 9 ? 9 : folder.bytes);
	if (about(lie, "long name"))
		n = add_record(body, n,
			       (struct packet_record){ RECORD_ENTRY, UNPACK_FOLDER, 0,
						       9 + UNPACK_NAME_MAX },
			       zeros, 9 + UNPACK_NAME_MAX);
	if (about(lie, "half a record"))
		n -= 12;
	tell(data, body, n, NULL, 0);
	tell(over, &done, done_bytes, text, text_bytes);
}

static int liar(void)
{
	struct packet p;

	greet();
	while (packet_recv(PROTOCOL_FD, in, PACKET_FDS_MAX, INT64_MAX, &p, NULL) == 0) {
		char lie[64] = "";
		struct packet_bundle_entry entry;
		struct packet_scan scan;
		struct packet_identify identify;

		if (p.head.type == PACKET_COMPILE) {
			if (pread(p.fds[0], &entry, sizeof entry, 0) != sizeof entry ||
			    pread(p.fds[0], lie, entry.ns_bytes, sizeof entry) < 0)
				return 1;
			lie_about_rules(p.head.seq, lie);
		} else if (p.head.type == PACKET_SCAN) {
			memcpy(&scan, p.body, sizeof scan);
			memcpy(lie, p.body + sizeof scan, scan.fact_bytes[FACT_FILE_NAME]);
			lie_about_hits(p.head.seq, lie);
		} else if (p.head.type == PACKET_UNPACK) {
			struct packet_unpack unpack;

			memcpy(&unpack, p.body, sizeof unpack);
			memcpy(lie, p.body + sizeof unpack, unpack.password_bytes[0]);
			lie_about_contents(p.head.seq, lie);
		} else if (p.head.type == PACKET_IDENTIFY) {
			memcpy(&identify, p.body, sizeof identify);
			if (identify.sample.offset == COUNT_OF(identities))
				tell_facts_for_ever(p.head.seq);
			lie_about_identity(p.head.seq, identify.sample.offset);
		} else {
			tell((struct packet_head){ .type = PACKET_DONE, .seq = p.head.seq }, NULL,
			     0, NULL, 0);
		}
		for (int i = 0; i < p.head.fds; i++)
			close(p.fds[i]);
	}
	return 0;
}

/* ---- The tests ---- */

static void lies_about_rules_are_deadly(void **state)
{
	static const char *const lies[] = {
		"source",
		"flags",
		"name length",
		"name",
		"number first",
		"metadata",
		"tag",
		"tag length",
		"tag count",
		"tags fewer",
		"tags more",
		"rules more",
		"rules fewer",
		"rules many",
		"table size",
		"code size",
		"plan size",
		"status",
		"stream",
		"type",
		"seq",
		"refused without reason",
		"messages",
		"message without level",
		"error in success",
		"end",
	};

	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		struct scan_child *child = take(pool);
		struct scan_rules *rules = NULL;
		struct err err = { 0 };

		if (try_compile(child, lies[i], &rules, &err) != -ERR_DIED ||
		    strstr(scan_child_cause(child), "broke the protocol") == NULL)
			fail_msg("%s: %s", lies[i], err.msg);
		assert_null(rules);
		assert_true(scan_child_is_dead(child));
		scan_child_give(pool, child);
	}
}

static void lies_about_hits_are_deadly(void **state)
{
	static const char *const lies[] = {
		"slot",         "empty slot", "rule",
		"private rule", "count",      "count max",
		"cut",          "offset",     "offset overflow",
		"len overflow", "order",      "half a hit",
		"seq",          "type",       "status",
		"twice",        "stream",     "short packet",
		"long packet",  "descriptor", "no time",
	};
	struct scan_sample sample = sample_of_z("12345");
	struct scan_result result = { 0 };
	struct err err = { 0 };
	struct scan_child *honest = loaded_liar();

	(void)state;
	send_sample(honest, sample, &no_facts);
	recv_result(honest, &result); /* what is sent without a lie is fine */
	assert_int_equal(result.hit_count, 1);
	assert_int_equal(result.hits[0].matches[1].offset, 1);
	scan_child_give(pool, honest);
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		struct scan_child *child = loaded_liar();
		struct scan_facts facts = { .file_name = str_of(lies[i]) };

		send_sample(child, sample, &facts);
		if (scan_recv(child, &result, &err) != -ERR_DIED ||
		    strstr(scan_child_cause(child), "broke the protocol") == NULL)
			fail_msg("%s: %s", lies[i], err.msg);
		assert_true(scan_child_is_dead(child));
		scan_child_give(pool, child);
	}
	scan_result_release(&result);
	close(sample.fd);
}

static void a_child_that_closes_its_socket_is_killed(void **state)
{
	struct scan_sample sample = sample_of_z("12345");
	struct scan_facts facts = { .file_name = STR("silence") };
	struct scan_result result = { 0 };
	struct err err = { 0 };
	struct scan_child *child = loaded_liar();

	(void)state;
	send_sample(child, sample, &facts);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_DIED);
	assert_string_equal(scan_child_cause(child), "killed by signal 9 (KILL)");
	scan_child_give(pool, child);
	close(sample.fd);
}

static void lies_about_identity_are_deadly(void **state)
{
	struct scan_sample sample = sample_of_z("12345");

	(void)state;
	for (size_t i = 0; i < COUNT_OF(identities); i++) {
		struct scan_child *child = take(pool);
		struct scan_identity id = { 0 };
		struct err err = { 0 };

		sample.offset = i;
		int rc = scan_identify(child, &sample, &id, &err);

		if (rc != (identities[i].is_honest ? 0 : -ERR_DIED))
			fail_msg("%s: %d %s", identities[i].name, rc, err.msg);
		assert_int_equal(scan_child_is_dead(child), !identities[i].is_honest);
		scan_identity_release(&id);
		scan_child_give(pool, child);
	}
	close(sample.fd);
}

static void honest_identities_are_taken(void **state)
{
	static const struct {
		const char *magic, *facts, *tags, *failure;
	} rows[] = {
		{ "a", "", "", "" },
		{ "a", "{\"ssdeep\":\"3:a:b\",\"tlsh\":\"T1\",\"pe_info\":{\"x\":[1]}}",
		  "64bits overlay", "" },
		{ "a", "{\"ssdeep\":\"3:a:b\"}", "", "why" },
		{ "\xef\xbf\xbd", "", "", "" },
	};
	struct scan_sample sample = sample_of_z("12345");
	struct scan_child *child = take(pool);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scan_identity id = { 0 };
		struct err err = { 0 };

		sample.offset = i;
		assert_int_equal(scan_identify(child, &sample, &id, &err), 0);
		CHECK_ROW(identities[i].name, str_eq_z(id.magic, rows[i].magic));
		CHECK_ROW(identities[i].name, str_eq_z(id.facts, rows[i].facts));
		CHECK_ROW(identities[i].name, str_eq_z(id.tags, rows[i].tags));
		CHECK_ROW(identities[i].name, str_eq_z(id.failure, rows[i].failure));
		scan_identity_release(&id);
	}
	scan_child_give(pool, child);
	close(sample.fd);
}

static void facts_without_end_are_deadly(void **state)
{
	struct scan_sample sample = sample_of_z("12345");
	struct scan_child *child = take(pool);
	struct scan_identity id = { 0 };
	struct err err = { 0 };

	(void)state;
	sample.offset = COUNT_OF(identities);
	assert_int_equal(scan_identify(child, &sample, &id, &err), -ERR_DIED);
	assert_string_equal(scan_child_cause(child), "broke the protocol: facts without end");
	scan_child_give(pool, child);
	close(sample.fd);
}

static int see_entry(void *arg, const struct unpack_entry *entry, struct err *err)
{
	unsigned *seen = arg;

	(void)err;
	*seen += entry->name.n == 1 && entry->name.p[0] == 'n';
	return 0;
}

static int see_bytes(void *arg, const void *p, size_t n, struct err *err)
{
	unsigned *seen = arg;

	(void)err;
	*seen += n == 1 && *(const char *)p == 'x' ? 10 : 0;
	return 0;
}

static int see_end(void *arg, enum unpack_end how, struct err *err)
{
	unsigned *seen = arg;

	(void)err;
	*seen += how == UNPACK_WHOLE ? 100 : 0;
	return 0;
}

static void lies_about_contents_are_deadly(void **state)
{
	struct str lies = STR("|kind of entry|flags|no date|record size|kind of record|end|"
			      "end with bytes|empty bytes|entries|bytes|opened|missing|short end|"
			      "stream|status|encrypted|bytes of nothing|end of nothing|"
			      "too many bytes|too many bytes at once|no end|too many entries|"
			      "long name|half a record|long text");
	struct str lie;
	static const struct unpack_calls calls = { see_entry, see_bytes, see_end };
	struct scan_sample sample = sample_of_z("12345");

	(void)state;
	while (str_split(&lies, '|', &lie)) {
		struct scan_child *child = take(pool);
		const struct unpack_request request = { .limits = { 4, 5, 8, 1000, 10000 },
							.passwords = &lie,
							.password_count = 1 };
		struct unpacked result;
		struct err err = { 0 };
		unsigned seen = 0;
		int rc = scan_unpack(child, &sample, &request, &calls, &seen, &result, &err);

		if (lie.n == 0) {
			assert_int_equal(rc, 0);
			assert_int_equal(seen, 112);
			assert_string_equal(result.text, "text");
		} else if (rc != -ERR_DIED || !scan_child_is_dead(child) ||
			   strstr(scan_child_cause(child), "broke the protocol") == NULL) {
			fail_msg(STR_FMT ": %s", STR_ARG(lie), err.msg);
		}
		scan_child_give(pool, child);
	}
	close(sample.fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lies_about_rules_are_deadly),
		cmocka_unit_test(lies_about_hits_are_deadly),
		cmocka_unit_test(a_child_that_closes_its_socket_is_killed),
		cmocka_unit_test(lies_about_identity_are_deadly),
		cmocka_unit_test(honest_identities_are_taken),
		cmocka_unit_test(facts_without_end_are_deadly),
		cmocka_unit_test(lies_about_contents_are_deadly),
	};

	if (argc == 2 && strcmp(argv[1], "scan-child") == 0)
		return liar();
	return cmocka_run_group_tests(tests, open_group, close_group);
}
