#include "unit.h"

#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

/* What the sink was given, one line each, and how often. */
struct heard {
	struct buf text;
	unsigned lines;
	enum log_level last_level;
};

static struct heard heard;
static struct clock_fake clock_now;

static void hear(enum log_level level, struct str line, void *arg)
{
	struct heard *h = arg;

	buf_add_str(&h->text, line);
	buf_add_c(&h->text, '\n');
	h->lines++;
	h->last_level = level;
}

static int set_up(void **state)
{
	(void)state;
	buf_init(&heard.text, (size_t)8 << 20);
	heard.lines = 0;
	clock_fake_init(&clock_now, 1795415760);
	clock_fake_advance(&clock_now, 123456);
	log_set_clock(&clock_now.base);
	log_set_sink(hear, &heard);
	log_set_level(LOG_INFO);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	log_set_sink(NULL, NULL);
	log_set_clock(NULL);
	buf_release(&heard.text);
	return 0;
}

#define HEAD(level, event)                                                                         \
	"{\"time\":\"2026-11-23T06:36:00.123Z\",\"level\":\"" level "\",\"event\":\"" event "\""

static void test_line(void **state)
{
	(void)state;
	log_event(LOG_ERROR, "bare");
	log_event(LOG_WARN, "all", LOG_Z("z", "text"), LOG_STR("s", str_make("abc", 2)),
		  LOG_I64("i", INT64_MIN), LOG_BOOL("yes", 5 > 4), LOG_BOOL("no", false),
		  LOG_Z("null", NULL));
	assert_string_equal(
		buf_str(&heard.text).p,
		HEAD("error", "bare") "}\n" HEAD(
			"warn", "all") ",\"z\":\"text\",\"s\":\"ab\",\"i\":-9223372036854775808,"
				       "\"yes\":true,\"no\":false,\"null\":\"\"}\n");
	assert_int_equal(heard.last_level, LOG_WARN);
}

static void test_hostile(void **state)
{
	char big[3000];

	(void)state;
	log_event(LOG_INFO, "bad", LOG_STR("s", str_make("a\n\xff\"\0", 5)));
	assert_string_equal(buf_str(&heard.text).p,
			    HEAD("info", "bad") ",\"s\":\"a\\n\xef\xbf\xbd\\\"\\u0000\"}\n");
	buf_reset(&heard.text);
	memset(big, 'x', sizeof big);
	big[1023] = '\xc3';
	big[1024] = '\xa4'; /* a code point across the cut goes whole */
	log_event(LOG_INFO, "cut", LOG_STR("s", str_make(big, sizeof big)));
	assert_int_equal(heard.text.n, strlen(HEAD("info", "cut") ",\"s\":\"\"}\n") + 1023);
}

/* More than a line may hold, every byte of it escaped: cut down, still JSON. */
static void test_too_long(void **state)
{
	static char bad[1024];
	struct log_field fields[65];

	(void)state;
	memset(bad, 1, sizeof bad);
	for (int i = 0; i < 64; i++)
		fields[i] = LOG_STR("k", str_make(bad, sizeof bad));
	fields[64] = (struct log_field){ 0 };
	log_write(LOG_INFO, "long", fields);
	assert_string_equal(buf_str(&heard.text).p, HEAD("info", "long") ",\"too_long\":true}\n");
}

static void test_levels(void **state)
{
	static const struct {
		const char *name;
		bool ok;
		enum log_level level;
	} rows[] = {
		{ "error", true, LOG_ERROR },   { "warn", true, LOG_WARN },
		{ "info", true, LOG_INFO },     { "debug", true, LOG_DEBUG },
		{ "Debug", false, LOG_INFO },   { "", false, LOG_INFO },
		{ "warning", false, LOG_INFO },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum log_level got = LOG_INFO;

		CHECK_ROW(rows[i].name, log_level_parse(str_of(rows[i].name), &got) == rows[i].ok);
		CHECK_ROW(rows[i].name, got == rows[i].level);
	}
	for (int max = LOG_ERROR; max <= LOG_DEBUG; max++) {
		heard.lines = 0;
		log_set_level((enum log_level)max);
		for (int level = LOG_ERROR; level <= LOG_DEBUG; level++)
			log_event((enum log_level)level, "e");
		assert_int_equal(heard.lines, max + 1);
	}
}

static void test_repeats(void **state)
{
	(void)state;
	for (int i = 0; i < 75; i++)
		log_event(LOG_WARN, "busy", LOG_I64("i", i));
	assert_int_equal(heard.lines, 50);
	/* Another event, or the same at another level, is not held back by it. */
	log_event(LOG_INFO, "busy");
	log_event(LOG_WARN, "other");
	assert_int_equal(heard.lines, 52);
	clock_fake_advance(&clock_now, 999999);
	log_event(LOG_WARN, "busy");
	assert_int_equal(heard.lines, 52);
	/* The second is over: whatever comes next tells the count, at the burst's level. */
	clock_fake_advance(&clock_now, 1);
	buf_reset(&heard.text);
	log_event(LOG_INFO, "next");
	assert_int_equal(heard.lines, 54);
	assert_string_equal(buf_str(&heard.text).p,
			    "{\"time\":\"2026-11-23T06:36:01.123Z\",\"level\":\"warn\",\"event\":"
			    "\"repeats\",\"of\":\"busy\",\"count\":26}\n"
			    "{\"time\":\"2026-11-23T06:36:01.123Z\",\"level\":\"info\",\"event\":"
			    "\"next\"}\n");
	/* A new window starts at nought, and a quiet one tells nothing. */
	for (int i = 0; i < 50; i++)
		log_event(LOG_WARN, "busy");
	assert_int_equal(heard.lines, 104);
	clock_fake_advance(&clock_now, 5000000);
	log_event(LOG_INFO, "next");
	assert_int_equal(heard.lines, 105);
}

/* Records are each told, however many come in a second. */
static void test_records(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++)
		log_record(LOG_INFO, "request", LOG_I64("i", i));
	assert_int_equal(heard.lines, 500);
}

/* Gathered ones keep their order, also with other lines between them. */
static void test_records_in_order(void **state)
{
	enum {
		RECORDS = 3000
	};
	char *dir = test_dir_new(), path[300], line[256], want[40];
	int kept = dup(STDERR_FILENO), fd;
	FILE *f;

	(void)state;
	snprintf(path, sizeof path, "%s/log", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	assert_true(kept >= 0 && fd >= 0);
	log_set_sink(NULL, NULL);
	dup2(fd, STDERR_FILENO);
	for (int i = 0; i < RECORDS; i++) {
		if (i == RECORDS / 2)
			log_event(LOG_INFO, "between", LOG_I64("i", i));
		else
			log_record(LOG_INFO, "request", LOG_I64("i", i));
	}
	log_flush();
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(fd);
	f = fopen(path, "r");
	assert_non_null(f);
	for (int i = 0; i < RECORDS; i++) {
		assert_non_null(fgets(line, sizeof line, f));
		snprintf(want, sizeof want, "\"i\":%d}", i);
		assert_non_null(strstr(line, want));
	}
	assert_null(fgets(line, sizeof line, f));
	fclose(f);
	test_dir_remove(dir);
}

static void test_repeats_flush(void **state)
{
	(void)state;
	for (int i = 0; i < 53; i++)
		log_event(LOG_ERROR, "last");
	buf_reset(&heard.text);
	log_flush();
	assert_string_equal(buf_str(&heard.text).p,
			    HEAD("error", "repeats") ",\"of\":\"last\",\"count\":3}\n");
	log_flush();
	assert_int_equal(heard.lines, 51);
}

/* More kinds of event than are watched: each line and each count still comes. */
static void test_repeats_many(void **state)
{
	(void)state;
	for (int i = 0; i < 60; i++)
		log_event(LOG_WARN, "first");
	assert_int_equal(heard.lines, 50);
	for (int i = 0; i < 300; i++) {
		char event[100];

		clock_fake_advance(&clock_now, 1);
		snprintf(event, sizeof event, "event-%d-%080d", i, 0);
		log_event(LOG_WARN, event);
	}
	assert_int_equal(heard.lines, 50 + 300 + 1);
	assert_non_null(strstr(buf_str(&heard.text).p, "\"of\":\"first\",\"count\":10}"));
}

static void write_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++)
		log_event(LOG_INFO, "threads", LOG_I64("i", i));
}

static void test_threads(void **state)
{
	struct thread t[4];
	struct err err;

	(void)state;
	for (int i = 0; i < 4; i++)
		CHECK_OK(thread_start(&t[i], "log", write_many, NULL, &err), &err);
	for (int i = 0; i < 4; i++)
		thread_join(&t[i]);
	assert_int_equal(heard.lines, 50);
	log_flush();
	assert_non_null(strstr(buf_str(&heard.text).p, "\"of\":\"threads\",\"count\":750}"));
}

/* Run one log_event with descriptor 2 replaced by fd. */
static void log_to(int fd)
{
	int keep = dup(STDERR_FILENO);

	log_set_sink(NULL, NULL);
	dup2(fd, STDERR_FILENO);
	log_event(LOG_WARN, "shown", LOG_Z("plain", "a1"), LOG_Z("blank", "a b"),
		  LOG_Z("tricky", "\x1b[2J\xe2\x80\xae\xc2\x9b\xff"), LOG_Z("none", ""),
		  LOG_I64("n", -3), LOG_BOOL("yes", true));
	dup2(keep, STDERR_FILENO);
	close(keep);
}

static void test_stderr(void **state)
{
	char got[1000] = { 0 };
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	log_to(ends[1]);
	close(ends[1]);
	/* One write, so one read: the whole line. */
	assert_true(read(ends[0], got, sizeof got - 1) > 0);
	close(ends[0]);
	assert_string_equal(
		got,
		HEAD("warn",
		     "shown") ",\"plain\":\"a1\",\"blank\":\"a b\",\"tricky\":\"\\u001b[2J\xe2\x80"
			      "\xae\xc2\x9b\xef\xbf\xbd\",\"none\":\"\",\"n\":-3,\"yes\":true}\n");
}

static void test_terminal(void **state)
{
	struct termios raw;
	char got[1000] = { 0 };
	int master;
	int slave;

	(void)state;
	memset(&raw, 0, sizeof raw);
	cfmakeraw(&raw);
	if (openpty(&master, &slave, NULL, &raw, NULL) != 0)
		skip();
	log_to(slave);
	assert_true(read(master, got, sizeof got - 1) > 0);
	close(slave);
	close(master);
	assert_string_equal(got, "2026-11-23T06:36:00.123Z warn  shown plain=a1 blank=\"a b\" "
				 "tricky=\\u001b[2J\\u202e\\u009b\xef\xbf\xbd none=\"\" n=-3 "
				 "yes=true\n");
}

/* Nobody reads the log any more: the program goes on. */
static void test_closed(void **state)
{
	void (*handler)(int) = signal(SIGPIPE, SIG_IGN);
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	log_to(ends[1]);
	close(ends[1]);
	signal(SIGPIPE, handler);
	log_set_sink(hear, &heard);
	log_event(LOG_INFO, "after");
	assert_int_equal(heard.lines, 1);
}

#define LOG_TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(test_line),         LOG_TEST(test_hostile),
		LOG_TEST(test_too_long),     LOG_TEST(test_levels),
		LOG_TEST(test_repeats),      LOG_TEST(test_repeats_flush),
		LOG_TEST(test_records),      LOG_TEST(test_records_in_order),
		LOG_TEST(test_repeats_many), LOG_TEST(test_threads),
		LOG_TEST(test_stderr),       LOG_TEST(test_terminal),
		LOG_TEST(test_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
