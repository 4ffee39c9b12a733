/*
 * Compile, scan and identify through real scan children: this program is its own
 * child (`test_scan scan-child`).
 */
#include "scan_group.h"
#include "scan/filetype.h"
#include "scan/vt_data.h"
#include "unit.h"

/* ---- Compile ---- */

static void compile_tells_every_rule(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_source sources[] = {
		{ STR("one.1"),
		  STR("private rule p { condition: true }\n"
		      "rule a : tag1 tag2 { meta: author = \"me\" n = 7 b = true s = \"\\x00\\xff\""
		      " condition: p }\n") },
		{ STR("two.1"), STR("global rule a { condition: filesize >= 0 }\n") },
	};
	struct scan_rules *rules = NULL;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(scan_compile(child, sources, 2, &plain, &rules, NULL, &err), 0);
	assert_non_null(rules);
	assert_int_equal(scan_rules_count(rules), 3);
	assert_true(scan_rules_bytes(rules) > 100);

	const struct scan_rule *p = scan_rules_at(rules, 0), *a = scan_rules_at(rules, 1),
			       *b = scan_rules_at(rules, 2);

	assert_true(p->is_private && !p->is_global && str_eq_z(p->name, "p"));
	assert_true(!a->is_private && a->source == 0 && str_eq_z(a->name, "a"));
	assert_int_equal(a->tag_count, 2);
	assert_true(str_eq_z(a->tags[0], "tag1") && str_eq_z(a->tags[1], "tag2"));
	assert_true(
		str_starts(a->metadata_json, STR("[[\"author\",\"me\"],[\"n\",7],[\"b\",true],")));
	assert_true(b->is_global && b->source == 1 && b->tag_count == 0);
	assert_true(str_eq_z(b->metadata_json, "[]"));
	scan_rules_unref(rules);
	scan_child_give(pool, child);
}

static void compile_refuses_with_messages(void **state)
{
	static const struct {
		const char *source, *code, *place;
	} rows[] = {
		{ "rule a { condition: }", "\"code\":\"E001\"", "\"line\":1" },
		{ "rule a {\n condition:\n  nothing }", "\"code\":\"E009\"",
		  "\"line\":3,\"column\":3" },
		{ "import \"cuckoo\" rule a { condition: true }", "\"level\":\"error\"",
		  "\"line\":1" },
		{ "import \"vt\" rule a { condition: vt.net.domain.raw == \"x\" }", "E100",
		  "\"line\":1" },
		{ "rule a { strings: $a = \"\xff\xfe\" condition: $a }", "\"level\":\"error\"",
		  "line" },
	};
	struct scan_child *child = take(pool);

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct scan_source s = { STR("bad.1"), str_of(rows[i].source) };
		struct scan_rules *rules = NULL;
		struct buf messages = BUF_INIT(1 << 20);
		struct err err = { 0 };

		assert_int_equal(scan_compile(child, &s, 1, &plain, &rules, &messages, &err), 0);
		assert_null(rules);
		if (strstr(messages.p, rows[i].code) == NULL ||
		    strstr(messages.p, rows[i].place) == NULL)
			fail_msg("row %zu: %s", i, messages.p);
		buf_release(&messages);
	}
	assert_false(scan_child_is_dead(child));
	scan_child_give(pool, child);
}

static void compile_slow_patterns(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_source s = { STR("slow.1"),
				 STR("rule a { strings: $a = { 00 [1-10] 01 } condition: $a }") };
	struct scan_compile_options options = plain;
	struct scan_rules *rules = NULL;
	struct buf messages = BUF_INIT(1 << 20);
	struct err err = { 0 };

	(void)state;
	assert_int_equal(scan_compile(child, &s, 1, &options, &rules, &messages, &err), 0);
	assert_non_null(rules);
	if (strstr(messages.p, "\"code\":\"slow_pattern\"") == NULL)
		fail_msg("%s", messages.p);
	rules = scan_rules_unref(rules);
	buf_reset(&messages);
	options.refuse_slow = true;
	assert_int_equal(scan_compile(child, &s, 1, &options, &rules, &messages, &err), 0);
	assert_null(rules);
	assert_non_null(strstr(messages.p, "\"level\":\"error\""));
	buf_release(&messages);
	scan_child_give(pool, child);
}

/* As the engine numbers them, with what they need; each is found as among all. */
static void compile_some_rules_of_a_source(void **state)
{
	static const char text[] =
		"import \"pe\"\n"
		"rule unused { condition: pe.is_pe }\n"
		"private rule base { strings: $a = \"foo\" condition: $a }\n"
		"rule first { condition: base and filesize > 3 }\n"
		"global rule every { condition: filesize < 10 }\n"
		"rule second : tag { meta: m = 1 strings: $a = \"bar\" condition: $a }\n";
	static const struct {
		uint32_t only[2], n;
		const char *names;
		size_t hits; /* in "foo bar" */
	} rows[] = {
		{ { 2 }, 1, "base first every ", 2 },
		{ { 4 }, 1, "every second ", 2 },
		{ { 4, 2 }, 2, "base first every second ", 3 },
		{ { 0 }, 1, "unused every ", 1 },
	};
	struct scan_child *child = take(pool);

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct scan_source s = { STR("some.1"), str_of(text) };
		struct scan_compile_options options = plain;
		struct scan_rules *rules = NULL;
		struct buf names = BUF_INIT(1000);
		struct err err = { 0 };

		options.only = rows[i].only;
		options.only_count = rows[i].n;
		if (scan_compile(child, &s, 1, &options, &rules, NULL, &err) != 0 || rules == NULL)
			fail_msg("row %zu: %s", i, err.msg);
		for (uint32_t r = 0; r < scan_rules_count(rules); r++)
			buf_addf(&names, STR_FMT " ", STR_ARG(scan_rules_at(rules, r)->name));
		assert_string_equal(names.p, rows[i].names);
		buf_release(&names);
		load(child, 0, rules);
		scan_rules_unref(rules);
		if (hits_with(child, "foo bar", &no_facts) != rows[i].hits)
			fail_msg("row %zu: other hits", i);
	}
	assert_int_equal(scan_child_is_dead(child), false);
	scan_child_give(pool, child);
}

static void a_rule_that_is_not_there_cannot_be_taken_out(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_source s = { STR("some.1"), STR("rule a { condition: true }") };
	struct scan_compile_options options = plain;
	const uint32_t only = 1;
	struct scan_rules *rules = NULL;
	struct err err = { 0 };

	(void)state;
	options.only = &only;
	options.only_count = 1;
	assert_int_equal(scan_compile(child, &s, 1, &options, &rules, NULL, &err), -ERR_INVALID);
	assert_null(rules);
	assert_false(scan_child_is_dead(child));
	scan_child_give(pool, child);
}

static void compile_deep_rules_in_the_sandbox(void **state)
{
	/* 2,000 levels need a large stack, and there are no new threads in there. */
	struct scan_child *child = take(pool);
	struct buf source = BUF_INIT(1 << 20);
	struct scan_rules *rules = NULL;
	struct buf messages = BUF_INIT(1 << 22);
	struct err err = { 0 };

	(void)state;
	for (unsigned depth = 500; depth <= 5000; depth *= 10) {
		buf_reset(&source);
		buf_reset(&messages);
		buf_add_z(&source, "rule deep { condition: ");
		for (unsigned i = 0; i < depth; i++)
			buf_add_z(&source, "(");
		buf_add_z(&source, "true");
		for (unsigned i = 0; i < depth; i++)
			buf_add_z(&source, ")");
		buf_add_z(&source, " }");
		struct scan_source s = { STR("deep.1"), buf_str(&source) };

		if (scan_compile(child, &s, 1, &plain, &rules, &messages, &err) != 0)
			fail_msg("depth %u: %s", depth, err.msg);
		if (depth == 500)
			assert_non_null(rules);
		else
			assert_null(rules);
		rules = scan_rules_unref(rules);
	}
	buf_release(&source);
	buf_release(&messages);
	scan_child_give(pool, child);
}

/* ---- Scan ---- */

static void scan_reports_offsets_of_both_slots(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_rules *base = compile_as(
		child, "base.1",
		"private rule p { condition: true }\n"
		"rule abc { strings: $a = \"abc\" $b = \"bcd\" condition: p and any of them }\n"
		"rule nothing { strings: $a = \"zzzz\" condition: $a }");
	struct scan_rules *delta = compile_as(
		child, "delta.1", "rule many { strings: $a = \"x\" condition: #a > 20 }");
	struct scan_result result = { 0 };
	struct scan_sample sample =
		sample_of_z("......abcd..abc xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ......");

	(void)state;
	load(child, 0, base);
	load(child, 1, delta);
	assert_ptr_equal(scan_loaded(child, 0), base);
	sample.offset = 4; /* a sample inside a larger file */
	sample.len -= 4;
	send_sample(child, sample, &no_facts);
	assert_int_equal(scan_pending(child), 1);
	recv_result(child, &result);
	assert_int_equal(scan_pending(child), 0);
	assert_int_equal(result.hit_count, 2);

	const struct scan_hit *abc = &result.hits[0], *many = &result.hits[1];

	assert_int_equal(abc->slot, 0);
	assert_true(str_eq_z(scan_rules_at(base, abc->rule)->name, "abc"));
	assert_int_equal(abc->match_count, 3);
	assert_false(abc->matches_cut);
	assert_int_equal(abc->matches[0].offset, 2);
	assert_int_equal(abc->matches[1].offset, 3);
	assert_int_equal(abc->matches[2].offset, 8);
	assert_int_equal(abc->matches[2].len, 3);
	assert_int_equal(many->slot, 1);
	assert_int_equal(many->match_count, SCAN_MATCHES_MAX);
	assert_true(many->matches_cut);

	load(child, 1, NULL); /* the delta is folded into the base */
	assert_null(scan_loaded(child, 1));
	send_sample(child, sample, &no_facts);
	recv_result(child, &result);
	assert_int_equal(result.hit_count, 1);
	scan_result_release(&result);
	close(sample.fd);
	scan_rules_unref(base);
	scan_rules_unref(delta);
	scan_child_give(pool, child);
}

static void scan_in_pipeline(void **state)
{
	struct scan_child *child =
		child_with(pool, "rule a { strings: $a = \"needle\" condition: $a }");
	struct scan_result result = { 0 };
	struct scan_sample with = sample_of_z("hay needle hay"), without = sample_of_z("hay");
	unsigned sent = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		while (sent < 1000 && scan_pending(child) < SCAN_DEPTH) {
			send_sample(child, sent % 3 == 0 ? with : without, &no_facts);
			sent++;
		}
		recv_result(child, &result);
		assert_int_equal(result.hit_count, i % 3 == 0);
	}
	scan_result_release(&result);
	close(with.fd);
	close(without.fd);
	scan_child_give(pool, child);
}

static void scan_hits_over_several_packets(void **state)
{
	enum {
		RULES = 5000,
		BYTES = 1000
	};
	struct buf source = BUF_INIT(4 << 20);
	char text[BYTES];
	struct scan_result result = { 0 };

	(void)state;
	memset(text, 'x', sizeof text);
	for (unsigned i = 0; i < RULES; i++)
		buf_addf(&source, "rule r%u { strings: $a = \"xx%s\" condition: $a }\n", i,
			 i % 2 != 0 ? "x" : "");

	struct scan_child *child = child_with(pool, source.p);
	struct scan_sample sample = sample_of(text, sizeof text);
	char seen[RULES] = { 0 };

	/* All four fill the socket while nobody reads: it must not lock up. */
	for (unsigned i = 0; i < SCAN_DEPTH; i++)
		send_sample(child, sample, &no_facts);
	for (unsigned i = 0; i < SCAN_DEPTH; i++) {
		recv_result(child, &result);
		assert_int_equal(result.hit_count, RULES);
	}
	for (unsigned i = 0; i < RULES; i++) {
		const struct scan_hit *hit = &result.hits[i];

		assert_int_equal(hit->match_count, SCAN_MATCHES_MAX);
		assert_true(hit->matches_cut);
		assert_int_equal(hit->matches[10].offset, 10);
		assert_int_equal(hit->matches[10].len, hit->rule % 2 != 0 ? 3 : 2);
		seen[hit->rule] = 1;
	}
	assert_null(memchr(seen, 0, sizeof seen));
	scan_result_release(&result);
	buf_release(&source);
	close(sample.fd);
	scan_child_give(pool, child);
}

static void a_compile_may_come_with_a_plan(void **state)
{
	static const struct scan_compile_options planned = { .entity = SCAN_FILE,
							     .want_plan = true };
	struct scan_source source = { STR("set.1"),
				      STR("rule a { strings: $a = \"needle\" condition: $a }") };
	struct scan_child *child = take(pool);
	struct scan_rules *rules = NULL;
	struct err err = { 0 };

	(void)state;
	if (scan_compile(child, &source, 1, &planned, &rules, NULL, &err) != 0)
		fail_msg("%s", err.msg);
	struct str plan = scan_rules_plan(rules);

	assert_true(plan.n > 48);
	assert_memory_equal(plan.p, "WPLN", 4);
	assert_non_null(memmem(plan.p, plan.n, "needle", 6));
	scan_rules_unref(rules);
	rules = compile(child, "rule a { condition: true }"); /* not asked for */
	assert_int_equal(scan_rules_plan(rules).n, 0);
	scan_rules_unref(rules);
	scan_child_give(pool, child);
}

/* Those that mention a variable's name elsewhere need no facts. */
static void rules_ask_for_facts(void **state)
{
	static const struct {
		const char *source;
		bool asks;
	} rows[] = {
		{ "rule a { condition: true }", false },
		{ "rule a { meta: md5 = \"x\" sha256=\"y\" tags\t= \"z\" condition: true }",
		  false },
		{ "rule a { strings: $md5 = \"x\" condition: $md5 }", false },
		{ "rule md5_of_it { condition: true } rule new_files { condition: true }", false },
		{ "import \"pe\" rule a { condition: pe.imphash() == \"x\" }", false },
		{ "rule a { condition: md5 == \"x\" }", true },
		{ "rule a { condition: md5==\"x\" }", true },
		{ "rule a { condition: new_file}", true },
		{ "rule a { condition: not(new_file) }", true },
		{ "rule a { condition: for all i in (0..submissions) : (i >= 0) }", true },
		{ "rule a { condition: submissions>=3 }", true },
		{ "rule a { condition: \"x\" ==\nfile_name\n }", true },
		{ "rule a { meta: tags = \"x\" condition: tags contains \"x\" }", true },
		{ "import \"vt\" rule a { condition: vt.metadata.new_file }", true },
	};
	struct scan_child *child = take(pool);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scan_rules *rules = compile(child, rows[i].source);

		CHECK_ROW(rows[i].source, scan_rules_asks_facts(rules) == rows[i].asks);
		scan_rules_unref(rules);
	}
	scan_child_give(pool, child);
}

static void rules_see_facts(void **state)
{
	struct scan_child *child = child_with(
		pool,
		"import \"vt\"\n"
		"rule r1 { condition: file_name == \"evil.exe\" }\n"
		"rule r2 { condition: file_type contains \"peexe\" and tags contains \"signed\" }\n"
		"rule r3 { condition: md5 == \"0cc175b9c0f1b6a831c399e269772661\" and sha1 == "
		"\"86f7\" "
		"and sha256 == \"ca97\" }\n"
		"rule r4 { condition: submissions == 3 and new_file }\n"
		"rule r5 { condition: vt.metadata.file_size == 12345 and "
		"vt.metadata.file_type == vt.FileType.PE_DLL and "
		"for any t in vt.metadata.file_type_tags : (t == \"pedll\") }\n"
		"rule r6 { condition: positives == 0 and imphash == \"\" }\n");
	struct buf vt = BUF_INIT(1 << 16);
	struct vt_data data = { .file_size = 12345, .file_type = 2 };
	struct err err = { 0 };

	(void)state;
	assert_int_equal(vt_data_encode(&data, &vt, &err), 0);

	struct scan_facts facts = { .vt = buf_str(&vt),
				    .file_name = STR("evil.exe"),
				    .file_type = STR("executable windows peexe"),
				    .md5 = STR("0cc175b9c0f1b6a831c399e269772661"),
				    .sha1 = STR("86f7"),
				    .sha256 = STR("ca97"),
				    .tags = STR("signed overlay"),
				    .submissions = 3,
				    .new_file = true };

	assert_int_equal(hits_with(child, "a", &facts), 6);
	assert_int_equal(hits_with(child, "a", &no_facts), 1); /* nothing stays */
	assert_int_equal(hits_with(child, "a", &facts), 6);
	buf_release(&vt);
	scan_child_give(pool, child);
}

static void large_facts_travel_apart(void **state)
{
	struct scan_child *child =
		child_with(pool, "import \"vt\"\n"
				 "rule r { condition: tags endswith \" last\" and "
				 "vt.metadata.file_name endswith \"end\" }");
	struct buf tags = BUF_INIT(1 << 20), vt = BUF_INIT(1 << 20);
	struct vt_data data = { 0 };
	struct err err = { 0 };

	(void)state;
	for (unsigned i = 0; i < 40000; i++)
		buf_addf(&tags, "tag%u ", i);
	data.file_name = buf_str(&tags);
	buf_add_z(&tags, "end");
	data.file_name = buf_str(&tags);
	assert_int_equal(vt_data_encode(&data, &vt, &err), 0);
	buf_add_z(&tags, " last");

	struct scan_facts facts = { .vt = buf_str(&vt), .tags = buf_str(&tags) };

	assert_int_equal(hits_with(child, "a", &facts), 1);
	assert_int_equal(hits_with(child, "a", &no_facts), 0);
	buf_release(&tags);
	buf_release(&vt);
	scan_child_give(pool, child);
}

static void samples_that_cannot_be_read(void **state)
{
	struct scan_child *child = child_with(pool, "rule a { condition: true }");
	struct scan_sample cut = sample_of_z("short"), write_only = cut;
	struct scan_result result = { 0 };
	struct err err = { 0 };
	char path[64];

	(void)state;
	cut.len = 6;
	send_sample(child, cut, &no_facts);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_IO);
	assert_non_null(strstr(err.msg, "ends before"));
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", cut.fd);
	write_only.fd = open(path, O_WRONLY | O_CLOEXEC);
	send_sample(child, write_only, &no_facts);
	cut.len = 5;
	send_sample(child, cut, &no_facts);
	assert_int_equal(scan_recv(child, &result, &err), -ERR_IO);
	recv_result(child, &result); /* the next one is not touched by it */
	assert_int_equal(result.hit_count, 1);
	cut.len = UINT64_MAX;
	assert_int_equal(scan_send(child, &cut, &no_facts, SCAN_ALL_SLOTS, &err), -ERR_TOO_LARGE);
	assert_false(scan_child_is_dead(child));
	scan_result_release(&result);
	close(write_only.fd);
	close(cut.fd);
	scan_child_give(pool, child);
}

static void an_empty_and_a_large_sample(void **state)
{
	enum {
		LARGE = 100 * 1000 * 1000
	};
	struct scan_child *child = child_with(
		pool, "rule empty { condition: filesize == 0 }\n"
		      "rule large { strings: $a = \"needle\" condition: $a at 99999994 }");
	int fd = memfd_create("large", MFD_CLOEXEC);
	struct scan_result result = { 0 };

	(void)state;
	assert_int_equal(hits_with(child, "", &no_facts), 1);
	assert_int_equal(pwrite(fd, "needle", 6, LARGE - 6), 6);
	send_sample(child, (struct scan_sample){ fd, 0, LARGE }, &no_facts);
	recv_result(child, &result);
	assert_int_equal(result.hit_count, 1);
	assert_int_equal(hits_with(child, "", &no_facts), 1);
	scan_result_release(&result);
	close(fd);
	scan_child_give(pool, child);
}

/* ---- Identify ---- */

#define BYTES(literal) literal, sizeof(literal) - 1

static const char pe[] =
	"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0\xb8\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0"
	"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0"
	"PE\0\0\x4c\1\1\0\0\0\0\0\0\0\0\0\0\0\0\0\xe0\0\2\1\x0b\1\0\0\0\0\0\0\0\0\0\0"
	"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\x10\0\0\0\2\0\0\0\0\0\0\0\0\0\0"
	"\4\0\0\0\0\0\0\0\0\x20\0\0\0\2\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

static const struct {
	const char *bytes;
	size_t n;
	const char *tag;
} made_up[] = {
	{ pe, sizeof pe, "peexe" },
	{ NULL, sizeof pe, "pedll" },
	{ BYTES("\x7f"
		"ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\x3e\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		"\0\0"),
	  "elf" },
	{ BYTES("\xcf\xfa\xed\xfe\7\0\0\1\3\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "macho" },
	{ BYTES("PK\3\4\x14\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0a."
		"txthellohellohellohello"),
	  "zip" },
	{ BYTES("\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0"), "gzip" },
	{ BYTES("7z\xbc\xaf\x27\x1c\0\4\0\0\0\0\0\0\0\0"), "7zip" },
	{ BYTES("Rar!\x1a\7\1\0\0\0\0\0\0\0"), "rar" },
	{ BYTES("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"), "pdf" },
	{ BYTES("{\\rtf1\\ansi hello}"), "rtf" },
	{ BYTES("<!DOCTYPE html>\n<html><head><title>x</title></head></html>\n"), "html" },
	{ BYTES("<?xml version=\"1.0\"?>\n<a/>\n"), "xml" },
	{ BYTES("{\"a\": [1, 2, 3], \"b\": null}\n"), "json" },
	{ BYTES("#!/bin/sh\necho hello\n"), "shell" },
	{ BYTES("#!/usr/bin/python3\nimport os\n"), "python" },
	{ BYTES("#!/usr/bin/perl\nprint 1;\n"), "perl" },
	{ BYTES("<?php\necho 1;\n"), "php" },
	{ BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0"), "png" },
	{ BYTES("\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"), "jpeg" },
	{ BYTES("\xca\xfe\xba\xbe\0\0\0\x34\0\x1d\x0a\0\6\0\x0f"), "class" },
	{ BYTES("!<arch>\ndebian-binary   1342943816  0     0     100644  4         "
		"`\n2.0\n"),
	  "deb" },
	{ BYTES("\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\xff\xff\0\0\1\0\0\0"), "cap" },
	{ BYTES("MSCF\0\0\0\0\x2c\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\3\1\1\0\1\0\0\0\0\0\0\0"),
	  "cab" },
	{ BYTES("@echo off\r\nset x=1\r\n"), "bat" },
	{ BYTES("Nothing but words here.\n"), "text" },
	{ BYTES("\1\2\3\4\5\6\7\xfe\xfd\xfc"), "unknown" },
	{ BYTES(""), "unknown" },
};

static void identify_made_up_files(void **state)
{
	char dll[sizeof pe];
	struct scan_child *child = take(pool);

	(void)state;
	memcpy(dll, pe, sizeof pe);
	dll[0x40 + 22 + 1] = 0x21; /* IMAGE_FILE_DLL */
	for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) {
		struct scan_identity id = { 0 };
		struct err err = { 0 };
		struct scan_sample s =
			sample_of(made_up[i].bytes != NULL ? made_up[i].bytes : dll, made_up[i].n);

		if (scan_identify(child, &s, &id, &err) != 0)
			fail_msg("%s: %s", made_up[i].tag, err.msg);
		if (strcmp(filetype_by_id(id.file_type)->tag, made_up[i].tag) != 0)
			fail_msg("%s is taken for %s (" STR_FMT ", " STR_FMT ")", made_up[i].tag,
				 filetype_by_id(id.file_type)->tag, STR_ARG(id.magic),
				 STR_ARG(id.mime));
		assert_true(id.mime.n > 0);
		/* Two hashes at the least, and what a PE file tells. */
		assert_int_equal(id.features_version, SCAN_FEATURES_VERSION);
		assert_true(id.feature_count >=
			    (id.magic.n > 2 && made_up[i].bytes == NULL ? 10 : 2));
		if (scan_probe(child, &s, &err) != 0)
			fail_msg("%s: %s", made_up[i].tag, err.msg);
		scan_identity_release(&id);
		close(s.fd);
	}
	scan_child_give(pool, child);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compile_tells_every_rule),
		cmocka_unit_test(compile_refuses_with_messages),
		cmocka_unit_test(compile_slow_patterns),
		cmocka_unit_test(compile_some_rules_of_a_source),
		cmocka_unit_test(a_rule_that_is_not_there_cannot_be_taken_out),
		cmocka_unit_test(compile_deep_rules_in_the_sandbox),
		cmocka_unit_test(scan_reports_offsets_of_both_slots),
		cmocka_unit_test(scan_in_pipeline),
		cmocka_unit_test(scan_hits_over_several_packets),
		cmocka_unit_test(a_compile_may_come_with_a_plan),
		cmocka_unit_test(rules_ask_for_facts),
		cmocka_unit_test(rules_see_facts),
		cmocka_unit_test(large_facts_travel_apart),
		cmocka_unit_test(samples_that_cannot_be_read),
		cmocka_unit_test(an_empty_and_a_large_sample),
		cmocka_unit_test(identify_made_up_files),
	};

	SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
