#ifndef SCAN_FIXTURE_H
#define SCAN_FIXTURE_H
/* What tests of scan children share; each failure fails the test that runs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "scan/scan.h"

static inline struct scan_pool *open_pool(const struct scan_pool_options *options)
{
	struct scan_pool *p = NULL;
	struct err err = { 0 };

	if (scan_pool_open(&p, options, &err) != 0)
		fail_msg("%s", err.msg);
	return p;
}

static inline struct scan_child *take(struct scan_pool *p)
{
	struct scan_child *child = NULL;
	struct err err = { 0 };

	if (scan_child_take(&child, p, &err) != 0)
		fail_msg("%s", err.msg);
	assert_non_null(child);
	return child;
}

static inline struct scan_sample sample_of(const void *bytes, size_t n)
{
	int fd = memfd_create("sample", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	return (struct scan_sample){ fd, 0, n };
}

static inline struct scan_sample sample_of_z(const char *text)
{
	return sample_of(text, strlen(text));
}

static const struct scan_compile_options plain = { .entity = SCAN_FILE, .warnings_max = 100 };

static inline struct scan_rules *compile_as(struct scan_child *child, const char *ns,
					    const char *source)
{
	struct scan_source s = { str_of(ns), str_of(source) };
	struct scan_rules *rules = NULL;
	struct buf messages = BUF_INIT(1 << 20);
	struct err err = { 0 };

	if (scan_compile(child, &s, 1, &plain, &rules, &messages, &err) != 0)
		fail_msg("%s", err.msg);
	if (rules == NULL)
		fail_msg("refused: %s", messages.p);
	buf_release(&messages);
	return rules;
}

static inline struct scan_rules *compile(struct scan_child *child, const char *source)
{
	return compile_as(child, "set.1", source);
}

static inline void load(struct scan_child *child, unsigned slot, struct scan_rules *rules)
{
	struct err err = { 0 };

	if (scan_load(child, slot, rules, &err) != 0)
		fail_msg("%s", err.msg);
}

static const struct scan_facts no_facts;

static inline void send_sample(struct scan_child *child, struct scan_sample sample,
			       const struct scan_facts *facts)
{
	struct err err = { 0 };

	if (scan_send(child, &sample, facts, SCAN_ALL_SLOTS, &err) != 0)
		fail_msg("%s", err.msg);
}

static inline void recv_result(struct scan_child *child, struct scan_result *result)
{
	struct err err = { 0 };

	if (scan_recv(child, result, &err) != 0)
		fail_msg("%s", err.msg);
}

/* Compile one source, load it, scan the text; the result is the caller's. */
static inline struct scan_child *child_with(struct scan_pool *p, const char *source)
{
	struct scan_child *child = take(p);
	struct scan_rules *rules = compile(child, source);

	load(child, 0, rules);
	load(child, 1, NULL);
	scan_rules_unref(rules);
	return child;
}

static inline size_t hits_with(struct scan_child *child, const char *text,
			       const struct scan_facts *facts)
{
	struct scan_result result = { 0 };
	struct scan_sample sample = sample_of_z(text);

	send_sample(child, sample, facts);
	close(sample.fd); /* it travels by itself */
	recv_result(child, &result);
	size_t n = result.hit_count;

	scan_result_release(&result);
	return n;
}

/* A rule that runs until it is stopped. */
#define ENDLESS "rule endless { condition: for all i in (0..1000000000000) : (i >= 0) }"

#endif
