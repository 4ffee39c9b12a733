/*
 * Many samples in one message. This program is its own child (`test_scan_many
 * scan-child`).
 */
#include "scan_group.h"
#include <sched.h>
#include "scan/many.h"
#include "pack_world.h"

enum {
	LARGE = 3 << 20 /* far above what is copied */
};

/* A file that grows, and the items in it. */
struct file {
	int fd;
	uint64_t at;
	uint32_t n;
	struct scan_item items[SCAN_MANY_MAX];
};

static struct file file_new(void)
{
	struct file f = { .fd = memfd_create("pack", MFD_CLOEXEC) };

	assert_true(f.fd >= 0);
	return f;
}

static void file_add(struct file *f, const void *bytes, size_t n, unsigned slots)
{
	f->at += 3; /* nothing is aligned */
	assert_int_equal(pwrite(f->fd, bytes, n, (off_t)f->at), n);
	assert_true(f->n < SCAN_MANY_MAX);
	f->items[f->n++] =
		(struct scan_item){ .offset = f->at, .len = (uint32_t)n, .slots = (uint16_t)slots };
	f->at += n;
}

static void file_add_z(struct file *f, const char *text, unsigned slots)
{
	file_add(f, text, strlen(text), slots);
}

static void load_source(struct scan_child *child, unsigned slot, const char *source)
{
	struct scan_rules *rules = compile(child, source);

	load(child, slot, rules);
	scan_rules_unref(rules);
}

static void send_items(struct scan_child *child, int fd, const struct scan_item *items, uint32_t n)
{
	struct err err = { 0 };

	if (scan_many_send(child, &fd, 1, items, n, &err) != 0)
		fail_msg("%s", err.msg);
}

/* All hits of one request, "item/slot/rule@offset,offset" each, and failures "item/slot!". */
struct story {
	struct buf text; /* owned */
	unsigned answers;
	uint32_t items;
};

static void story_release(struct story *s)
{
	buf_release(&s->text);
}

static int story_recv(struct scan_child *child, struct story *story, struct err *err)
{
	struct scan_found found = { 0 };
	int rc;

	*story = (struct story){ .text = BUF_INIT(16 << 20) };
	do {
		rc = scan_many_recv(child, &found, err);
		if (rc != 0)
			break;
		assert_int_equal(found.from, story->items);
		assert_true(found.to > found.from);
		for (size_t i = 0; i < found.result.hit_count; i++) {
			const struct scan_hit *hit = &found.result.hits[i];

			assert_in_range(hit->item, found.from, found.to - 1);
			buf_addf(&story->text, "%u/%u/%u", hit->item, hit->slot, hit->rule);
			for (uint32_t k = 0; k < hit->match_count; k++)
				buf_addf(&story->text, "%c%llu", k == 0 ? '@' : ',',
					 (unsigned long long)hit->matches[k].offset);
			buf_addf(&story->text, "%s ", hit->matches_cut ? "+" : "");
		}
		for (size_t i = 0; i < found.failure_count; i++) {
			assert_in_range(found.failures[i].item, found.from, found.to - 1);
			buf_addf(&story->text, "%u/%u! ", found.failures[i].item,
				 found.failures[i].slot);
		}
		story->items = found.to;
		story->answers++;
	} while (!found.is_last);
	scan_found_release(&found);
	buf_addf(&story->text, "."); /* never NULL */
	assert_false(buf_failed(&story->text));
	return rc;
}

static void expect_story(struct scan_child *child, uint32_t items, const char *expected)
{
	struct story story;
	struct err err = { 0 };

	if (story_recv(child, &story, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(story.items, items);
	assert_string_equal(story.text.p, expected);
	story_release(&story);
}

static void each_item_gets_its_own_sets(void **state)
{
	struct scan_child *child = take(pool);
	struct file f = file_new();
	uint8_t *large = calloc(1, LARGE);

	(void)state;
	load_source(child, 2, "rule a { strings: $x = \"foo\" condition: $x }");
	load_source(child, 5,
		    "private rule p { strings: $x = \"foo\" condition: $x }\n"
		    "rule b { strings: $x = \"bar\" condition: $x and p }");
	load_source(child, SCAN_SLOTS - 1,
		    "rule empty { condition: filesize == 0 }\n"
		    "rule large { strings: $x = \"foo\" condition: filesize > 1MB and $x }");
	file_add_z(&f, "foo bar foo", 1 << 2);
	file_add_z(&f, "foo bar foo", 1 << 5);
	file_add_z(&f, "foo bar foo", 1 << 2 | 1 << 5 | 1 << 15);
	file_add_z(&f, "bar", 1 << 2 | 1 << 5);
	file_add_z(&f, "", 1 << 15);
	memcpy(large + LARGE - 3, "foo", 3);
	file_add(&f, large, LARGE, 1 << 2 | 1 << 15);
	file_add_z(&f, "foo", 0);
	file_add_z(&f, "foo", 1 << 2);
	send_items(child, f.fd, f.items, f.n);
	close(f.fd); /* it travels by itself */
	expect_story(child, f.n,
		     "0/2/0@0,8 1/5/1@4 2/2/0@0,8 2/5/1@4 4/15/0 5/2/0@3145725 5/15/1@3145725 "
		     "7/2/0@0 .");
	scan_child_give(pool, child);
	free(large);
}

static void items_of_several_files(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_item items[SCAN_MANY_FILES];
	struct err err = { 0 };
	int fds[SCAN_MANY_FILES];

	(void)state;
	load_source(child, 2, "rule a { strings: $x = \"foo\" condition: $x }");
	for (unsigned i = 0; i < SCAN_MANY_FILES; i++) {
		char text[40] = "";

		(void)snprintf(text, sizeof text, "%*s%s", (int)i, "", i % 5 == 0 ? "foo" : "bar");
		fds[i] = sample_of_z(text).fd;
		items[i] = (struct scan_item){ 0, (uint32_t)strlen(text), 1 << 2, (uint16_t)i };
	}
	if (scan_many_send(child, fds, SCAN_MANY_FILES, items, SCAN_MANY_FILES, &err) != 0)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < SCAN_MANY_FILES; i++)
		close(fds[i]);
	expect_story(child, SCAN_MANY_FILES, "0/2/0@0 5/2/0@5 10/2/0@10 15/2/0@15 .");
	scan_child_give(pool, child);
}

static unsigned occurrences(const char *text, const char *of)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, of)) != NULL; at++)
		n++;
	return n;
}

/* More than one packet holds, of many items and of one. */
static void hits_in_several_packets(void **state)
{
	enum {
		RULES = 1000
	};
	static const char text[] = "foofoofoofoofoofoofoofoofoofoofoofoo";
	struct scan_child *child = take(pool);
	struct buf source = BUF_INIT(1 << 20);
	struct file f = file_new();
	struct story story;
	struct err err = { 0 };

	(void)state;
	load_source(child, 2, "rule a { strings: $x = \"foo\" condition: #x > 11 }");
	for (unsigned i = 0; i < RULES; i++)
		buf_addf(&source, "rule r%u { strings: $x = \"foo\" condition: $x }\n", i);
	buf_addf(&source, "rule last { condition: filesize == 0 }");
	load_source(child, 3, buf_str(&source).p);
	for (uint32_t i = 0; i < 400; i++)
		file_add(&f, text, sizeof text - 1, i % 200 == 100 ? 1 << 2 | 1 << 3 : 1 << 2);
	send_items(child, f.fd, f.items, f.n);
	if (story_recv(child, &story, &err) != 0)
		fail_msg("%s", err.msg);
	assert_true(story.answers > 2);
	assert_int_equal(occurrences(story.text.p, "@0,3,6,9,12,15,18,21,24,27,30+ "),
			 400 + 2 * RULES);
	assert_int_equal(occurrences(story.text.p, " 100/3/"), RULES);
	assert_int_equal(occurrences(story.text.p, " 300/3/"), RULES);
	assert_int_equal(occurrences(story.text.p, "/2/0@"), 400);
	story_release(&story);
	scan_child_give(pool, child);
	buf_release(&source);
	close(f.fd);
}

/* Requests of all kinds are answered in their order. */
static void requests_under_way_together(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_sample sample = sample_of_z("foo");
	struct scan_result result = { 0 };
	struct scan_identity id = { 0 };
	struct err err = { 0 };
	struct file f = file_new();

	(void)state;
	load_source(child, 2, "rule a { strings: $x = \"foo\" condition: $x }");
	load_source(child, 3, "rule b { condition: true }");
	file_add_z(&f, "foo", 1 << 2);
	file_add_z(&f, "bar", 1 << 2);
	file_add_z(&f, "a foo", 1 << 2);
	for (unsigned round = 0; round < 3; round++) {
		send_items(child, f.fd, f.items, 2);
		assert_int_equal(scan_send(child, &sample, &no_facts, 1 << 3, &err), 0);
		assert_int_equal(scan_identify_send(child, &sample, false, &err), 0);
		send_items(child, f.fd, f.items + 1, 2);
		assert_int_equal(scan_pending(child), SCAN_DEPTH);
		expect_story(child, 2, "0/2/0@0 .");
		recv_result(child, &result);
		assert_int_equal(result.hit_count, 1); /* of the slot that was asked */
		assert_int_equal(result.hits[0].slot, 3);
		if (scan_identify_recv(child, &id, &err) != 0)
			fail_msg("%s", err.msg);
		scan_identity_release(&id);
		expect_story(child, 2, "1/2/0@2 .");
	}
	scan_result_release(&result);
	scan_child_give(pool, child);
	close(sample.fd);
	close(f.fd);
}

/* The engine runs into a panic of its own with this, but for small samples. */
static void a_set_that_fails_leaves_the_others(void **state)
{
	struct scan_child *child = take(pool);
	struct buf source = BUF_INIT(8000);
	char regex[2000], *p = regex;
	struct file f = file_new();

	(void)state;
	for (int i = 0; i < 110; i++)
		p = stpcpy(p, "(");
	p = stpcpy(p, "ab");
	for (int i = 0; i < 110; i++)
		p = stpcpy(p, "|cd)");
	buf_addf(&source,
		 "import \"math\" rule r { condition: filesize > 3 and (math.to_string(filesize) "
		 "matches /%s/ or math.to_string(filesize) matches /x%s/) }",
		 regex, regex);
	load_source(child, 2, "rule a { strings: $x = \"foo\" condition: $x }");
	load_source(child, 3, source.p);
	load_source(child, 4, "rule b { condition: true }");
	for (unsigned i = 0; i < 4; i++)
		file_add_z(&f, i == 1 || i == 2 ? "a foo" : "foo", 1 << 2 | 1 << 3 | 1 << 4);
	send_items(child, f.fd, f.items, f.n);
	expect_story(child, f.n,
		     "0/2/0@0 0/4/0 1/2/0@2 1/4/0 2/2/0@2 2/4/0 3/2/0@0 3/4/0 1/3! 2/3! .");
	scan_child_give(pool, child);
	buf_release(&source);
	close(f.fd);
}

static void what_cannot_be_read_is_told(void **state)
{
	struct scan_child *child = take(pool);
	struct file f = file_new();
	struct scan_item beyond[4];
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint8_t *large = calloc(1, LARGE);

	(void)state;
	load_source(child, 2, "rule a { condition: true }");
	file_add_z(&f, "foo", 1 << 2);
	file_add(&f, large, LARGE, 1 << 2);
	beyond[0] = f.items[0];
	beyond[1] = (struct scan_item){ .offset = f.at - 2, .len = 3, .slots = 1 << 2 };
	beyond[2] = (struct scan_item){ .offset = f.at - LARGE, .len = LARGE + 1, .slots = 1 << 2 };
	beyond[3] = f.items[1];
	send_items(child, f.fd, beyond, 4);
	expect_story(child, 4, "0/2/0 3/2/0 1/255! 2/255! .");
	send_items(child, folder, beyond, 4);
	expect_story(child, 4, "0/255! 1/255! 2/255! 3/255! .");
	assert_false(scan_child_is_dead(child));
	scan_child_give(pool, child);
	close(folder);
	close(f.fd);
	free(large);
}

static void samples_too_large_are_refused(void **state)
{
	struct scan_child *child = take(pool);
	struct scan_item item = { .len = UINT32_MAX, .slots = 1 << 2 };
	struct err err = { 0 };
	int fd = STDIN_FILENO;

	(void)state;
	load_source(child, 2, "rule a { condition: true }");
	assert_int_equal(scan_many_send(child, &fd, 1, &item, 1, &err), -ERR_TOO_LARGE);
	item = (struct scan_item){ .offset = UINT64_MAX, .len = 1, .slots = 1 << 2 };
	assert_int_equal(scan_many_send(child, &fd, 1, &item, 1, &err), -ERR_TOO_LARGE);
	assert_int_equal(scan_pending(child), 0);
	scan_child_give(pool, child);
}

/* As the store keeps them: in a pack, one of them erased. */
static void samples_in_packs(void **state)
{
	static const char *const texts[] = { "a foo", "foo", "and foo", "" };
	struct scan_child *child = take(pool);
	struct pack_locator at[4];
	struct scan_item items[4];
	struct pack_file *file;
	struct hasher *hasher = hasher_new();
	struct packs *packs = NULL;
	struct err err = { 0 };
	char *dir = test_dir_new();
	struct io *io = NULL;

	(void)state;
	assert_int_equal(io_posix_new(&io, dir, &err), 0);
	if (packs_open(&packs, io, &PACKS_OPTIONS_DEFAULT, &err) != 0)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < 4; i++) {
		struct hashes h;

		hasher_reset(hasher);
		hasher_add(hasher, texts[i], strlen(texts[i]));
		hasher_end(hasher, &h);
		if (packs_append(packs, &h, texts[i], strlen(texts[i]), &at[i], &err) != 0)
			fail_msg("%s", err.msg);
		items[i] = (struct scan_item){ .offset = at[i].offset,
					       .len = (uint32_t)at[i].len,
					       .slots = 1 << 2 };
	}
	assert_int_equal(packs_sync(packs, &err), 0);
	load_source(child, 2,
		    "rule a { strings: $x = \"foo\" condition: $x } rule b { condition: true }");
	assert_int_equal(packs_get(packs, at[0].pack, &file, &err), 0);
	for (unsigned round = 0; round < 2; round++) {
		send_items(child, pack_file_fd(file), items, 4);
		expect_story(child, 4,
			     round == 0 ? "0/2/0@2 0/2/1 1/2/0@0 1/2/1 2/2/0@4 2/2/1 3/2/1 ."
					: "0/2/0@2 0/2/1 1/2/1 2/2/0@4 2/2/1 3/2/1 .");
		assert_int_equal(packs_erase(packs, &at[1], &err), 0);
	}
	pack_file_put(packs, file);
	scan_child_give(pool, child);
	packs_close(packs);
	hasher_free(hasher);
	io_posix_free(io);
	test_dir_remove(dir);
}

/* ---- Time, and deaths ---- */

/* Runs for a long time on samples of 7 bytes only. */
#define ENDLESS_ON_SEVEN                                                                           \
	"rule endless { condition: filesize == 7 and for all i in (0..1000000000000) : (i >= 0) }" \
	"rule foo { strings: $x = \"foo\" condition: $x }"

static struct file file_with_guilty(uint32_t n, uint32_t guilty)
{
	struct file f = file_new();

	for (uint32_t i = 0; i < n; i++)
		file_add_z(&f, i == guilty ? "1234567" : "foo", 1 << 2);
	return f;
}

/* The others are repeated by who asked, and then answered. */
static void repeat_the_others(struct scan_pool *p, const struct file *f, uint32_t guilty)
{
	struct scan_child *child = take(p);
	struct scan_item items[SCAN_MANY_MAX];
	struct story story;
	struct err err = { 0 };

	load_source(child, 2, ENDLESS_ON_SEVEN);
	memcpy(items, f->items, guilty * sizeof items[0]);
	memcpy(items + guilty, f->items + guilty + 1, (f->n - guilty - 1) * sizeof items[0]);
	send_items(child, f->fd, items, f->n - 1);
	if (story_recv(child, &story, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(occurrences(story.text.p, "/2/1@0 "), f->n - 1);
	story_release(&story);
	scan_child_give(p, child);
}

static void an_item_without_end_is_named(void **state)
{
	static const uint32_t places[] = { 0, 57, 199 };
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;

	(void)state;
	options.scan_timeout_ms = 300;
	struct scan_pool *p = open_pool(&options);

	for (size_t i = 0; i < COUNT_OF(places); i++) {
		struct scan_child *child = take(p);
		struct file f = file_with_guilty(200, places[i]);
		uint32_t done, from, to;
		struct story story;
		struct err err = { 0 };

		load_source(child, 2, ENDLESS_ON_SEVEN);
		assert_false(scan_many_suspects(child, &done, &from, &to));
		send_items(child, f.fd, f.items, f.n);
		assert_int_equal(story_recv(child, &story, &err), -ERR_TIMEOUT);
		assert_string_equal(scan_child_cause(child), "took longer than 300 ms");
		assert_true(scan_many_suspects(child, &done, &from, &to));
		assert_int_equal(from, places[i]);
		assert_int_equal(to, places[i] + 1);
		assert_int_equal(done, story.items);
		assert_true(done <= from);
		/* What comes later is refused. */
		assert_int_equal(scan_many_send(child, &f.fd, 1, f.items, 1, &err), -ERR_DIED);
		story_release(&story);
		scan_child_give(p, child);
		repeat_the_others(p, &f, places[i]);
		close(f.fd);
	}
	scan_pool_close(p);
}

static void a_request_may_take_longer_than_an_item(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;
	struct file f = file_new();
	struct story story;
	struct err err = { 0 };
	uint32_t steps = 10000;
	int64_t item_us = 0;

	(void)state;
	options.scan_timeout_ms = 1500;
	struct scan_pool *p = open_pool(&options);
	struct scan_child *child = take(p);

	for (unsigned i = 0; i < 64; i++)
		file_add_z(&f, "foo", 1 << 2);
	/* As long as it takes until one item takes 50 ms here. */
	for (; item_us < 50000; steps *= 2) {
		char source[200];

		(void)snprintf(source, sizeof source,
			       "rule slow { condition: for all i in (0..%u) : (i >= 0) }", steps);
		load_source(child, 2, source);
		item_us = clock_mono_us(clock_system());
		send_items(child, f.fd, f.items, 1);
		expect_story(child, 1, "0/2/0 .");
		item_us = clock_mono_us(clock_system()) - item_us;
	}
	send_items(child, f.fd, f.items, f.n); /* at least 3.2 s */
	if (story_recv(child, &story, &err) != 0)
		fail_msg("%s", err.msg);
	assert_true(story.answers >= 4);
	assert_int_equal(occurrences(story.text.p, "/2/0 "), f.n);
	story_release(&story);
	scan_child_give(p, child);
	scan_pool_close(p);
	close(f.fd);
}

/* Each request does one item, as its time is over by then, and what is left is asked for again. */
static void a_request_ends_early(void **state)
{
	struct scan_child *child = take(pool);
	struct file f = file_new();
	uint32_t done = 0, n = 5;
	struct err err = { 0 };

	(void)state;
	load_source(child, 2, "rule slow { condition: for all i in (0..10000000) : (i >= 0) }");
	for (uint32_t i = 0; i < n; i++)
		file_add_z(&f, "foo", 1 << 2);
	for (; done < n; done++) {
		assert_int_equal(
			scan_many_send_for(child, &f.fd, 1, f.items + done, n - done, 1, &err), 0);
		expect_story(child, 1, "0/2/0 .");
	}
	/* With time enough it does not. */
	assert_int_equal(scan_many_send_for(child, &f.fd, 1, f.items, n, 600000, &err), 0);
	expect_story(child, n, "0/2/0 1/2/0 2/2/0 3/2/0 4/2/0 .");
	scan_child_give(pool, child);
	close(f.fd);
}

/* Until the process has worked for so long. */
static void await_cpu_ms(pid_t pid, int64_t ms)
{
	struct timespec from, now;
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	assert_int_equal(clock_gettime(clock, &from), 0);
	do {
		sched_yield();
		assert_int_equal(clock_gettime(clock, &now), 0);
	} while ((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < ms);
}

static void a_child_that_is_killed_names_its_item(void **state)
{
	struct scan_child *child = take(pool);
	struct file f = file_with_guilty(300, 123);
	struct scan_found found = { 0 };
	uint32_t done, from, to, told = 0;
	struct err err = { 0 };
	int rc;

	(void)state;
	load_source(child, 2, ENDLESS_ON_SEVEN);
	send_items(child, f.fd, f.items, f.n);
	send_items(child, f.fd, f.items, f.n);
	/* The others take no time to speak of: then it is at the endless one. */
	await_cpu_ms(scan_child_pid(child), 200);
	kill(scan_child_pid(child), SIGKILL);
	while ((rc = scan_many_recv(child, &found, &err)) == 0)
		told = found.to;
	assert_int_equal(rc, -ERR_DIED);
	assert_true(scan_child_is_struck(child));
	assert_true(scan_many_suspects(child, &done, &from, &to));
	assert_int_equal(done, told);
	assert_int_equal(from, 123);
	assert_int_equal(to, 124);
	scan_found_release(&found);
	scan_child_give(pool, child);
	close(f.fd);
}

/* Dead before it began with the request: nothing is known of anybody. */
static void a_child_killed_before_suspects_all(void **state)
{
	struct scan_child *child = take(pool);
	struct file f = file_with_guilty(10, 10);
	struct story story;
	uint32_t done, from, to;
	struct err err = { 0 };

	(void)state;
	load_source(child, 2, ENDLESS_ON_SEVEN);
	kill(scan_child_pid(child), SIGSTOP);
	send_items(child, f.fd, f.items, f.n);
	kill(scan_child_pid(child), SIGKILL);
	assert_int_equal(story_recv(child, &story, &err), -ERR_DIED);
	assert_true(scan_many_suspects(child, &done, &from, &to));
	assert_int_equal(done, 0);
	assert_int_equal(from, 0);
	assert_int_equal(to, 10);
	story_release(&story);
	scan_child_give(pool, child);
	close(f.fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_item_gets_its_own_sets),
		cmocka_unit_test(items_of_several_files),
		cmocka_unit_test(hits_in_several_packets),
		cmocka_unit_test(requests_under_way_together),
		cmocka_unit_test(a_set_that_fails_leaves_the_others),
		cmocka_unit_test(what_cannot_be_read_is_told),
		cmocka_unit_test(samples_too_large_are_refused),
		cmocka_unit_test(samples_in_packs),
		cmocka_unit_test(an_item_without_end_is_named),
		cmocka_unit_test(a_request_may_take_longer_than_an_item),
		cmocka_unit_test(a_request_ends_early),
		cmocka_unit_test(a_child_that_is_killed_names_its_item),
		cmocka_unit_test(a_child_killed_before_suspects_all),
	};

	SCAN_CHILD(argc, argv);
	return cmocka_run_group_tests(tests, open_group, close_group);
}
