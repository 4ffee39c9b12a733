#ifndef SCAN_LIAR_H
#define SCAN_LIAR_H
/*
 * What tests have in common whose scan children lie: they are their own children
 * (`test_x scan-child`), and told what to lie about in the requests themselves.
 */
#include "scan_fixture.h"
#include "pool_internal.h"
#include "unit.h"

/* ---- The liar ---- */

static uint8_t in[PACKET_BYTES_MAX];

static inline void tell(struct packet_head head, const void *a, size_t a_bytes, const void *b,
			size_t b_bytes)
{
	struct iovec parts[2] = { { (void *)(uintptr_t)a, a_bytes },
				  { (void *)(uintptr_t)b, b_bytes } };

	if (packet_send(PROTOCOL_FD, head, parts, 2, NULL, -1, NULL) != 0)
		_exit(1);
}

static inline bool about(const char *lie, const char *name)
{
	return strcmp(lie, name) == 0;
}

/* Honestly: one public and one private rule of source 0, one with a tag. */
static inline void lie_about_rules(uint32_t seq, const char *lie)
{
	static const char meta[] = "[[\"k\",1]]", wrong_meta[] = "[[\"k\",1],]";
	struct {
		struct packet_rule head;
		uint32_t tag;
		char name[1], metadata[9], tag_name[3];
	} __attribute__((packed))
	first = { { 0, 0, 1, 9, 1 }, 3, { 'a' }, { 0 }, { 't', 'a', 'g' } };
	struct {
		struct packet_rule head;
		char name[1], metadata[2];
	} __attribute__((packed)) second = { { 0, RULE_PRIVATE, 1, 2, 0 }, { 'b' }, { '[', ']' } };
	struct packet_compiled done = { 2, 1, 0, sizeof first + sizeof second, 4, 0 };
	struct packet_head data = { .type = PACKET_DATA, .stream = STREAM_TABLE, .seq = seq };
	struct packet_head end = { .type = PACKET_DONE, .seq = seq };
	const char *messages = "[{\"level\":\"error\"}]";

	memcpy(first.metadata, meta, 9);
	if (about(lie, "source"))
		second.head.source = 1;
	else if (about(lie, "flags"))
		second.head.flags = 4;
	else if (about(lie, "name length"))
		second.head.name_bytes = 1u << 31;
	else if (about(lie, "name"))
		second.name[0] = '\xff';
	else if (about(lie, "number first"))
		second.name[0] = '1';
	else if (about(lie, "metadata"))
		memcpy(first.metadata, wrong_meta, 9);
	else if (about(lie, "tag"))
		first.tag_name[0] = ' ';
	else if (about(lie, "tag length"))
		first.tag = 100;
	else if (about(lie, "tag count"))
		first.head.tags = 1u << 30;
	else if (about(lie, "tags fewer"))
		done.tags = 0;
	else if (about(lie, "tags more"))
		done.tags = 2;
	else if (about(lie, "rules more"))
		done.rules = 3;
	else if (about(lie, "rules fewer"))
		done.rules = 1;
	else if (about(lie, "rules many"))
		done.rules = UINT32_MAX;
	else if (about(lie, "table size"))
		done.table_bytes++;
	else if (about(lie, "code size"))
		done.code_bytes++;
	else if (about(lie, "plan size"))
		done.plan_bytes++;
	else if (about(lie, "status"))
		end.status = 77;
	else if (about(lie, "stream"))
		data.stream = STREAM_HITS;
	else if (about(lie, "type"))
		data.type = PACKET_READY;
	else if (about(lie, "seq"))
		data.seq++;
	else if (about(lie, "refused without reason"))
		end.status = STATUS_REFUSED;
	tell(data, &first, sizeof first, &second, sizeof second);
	data.stream = STREAM_CODE;
	tell(data, "code", 4, NULL, 0);
	data.stream = STREAM_MESSAGES;
	if (about(lie, "messages"))
		tell(data, "[{]", 3, NULL, 0);
	if (about(lie, "message without level"))
		tell(data, "[{}]", 4, NULL, 0);
	if (about(lie, "error in success"))
		tell(data, messages, strlen(messages), NULL, 0);
	tell(end, &done, about(lie, "end") ? 7 : sizeof done, NULL, 0);
}

extern char **environ;

/* What the parent gave us: no environment but the mark, no descriptors but the four. */
static inline const char *inheritance(void)
{
	if (environ == NULL || strcmp(environ[0], SCAN_CHILD_MARK "=1") != 0 || environ[1] != NULL)
		return "it has an environment";
	for (int fd = 0; fd < 1024; fd++) {
		if ((fcntl(fd, F_GETFD) >= 0) != (fd <= PROTOCOL_FD))
			return "it has other descriptors";
	}
	return NULL;
}

/* The first words on both sides. */
static inline void greet(void)
{
	const char *wrong = inheritance();
	struct packet p;

	if (packet_recv(PROTOCOL_FD, in, 1, INT64_MAX, &p, NULL) != 0)
		_exit(1);
	if (wrong != NULL)
		tell((struct packet_head){ .type = PACKET_REFUSED }, wrong, strlen(wrong), NULL, 0);
	for (int i = 0; i < p.head.fds; i++)
		close(p.fds[i]);
	tell((struct packet_head){ .type = PACKET_READY }, NULL, 0, NULL, 0);
}

/* ---- The tests' side ---- */

static struct scan_pool *pool;

static inline int try_compile(struct scan_child *child, const char *lie, struct scan_rules **ret,
			      struct err *err)
{
	struct scan_source s = { str_of(lie), STR("rule") };
	struct buf messages = BUF_INIT(1 << 16);

	int rc = scan_compile(child, &s, 1, &plain, ret, &messages, err);

	buf_release(&messages);
	return rc;
}

/* A child with the liar's two rules in slot 0. */
static inline struct scan_child *loaded_liar(void)
{
	struct scan_child *child = take(pool);
	struct scan_rules *rules = NULL;
	struct err err = { 0 };

	if (try_compile(child, "", &rules, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(scan_rules_count(rules), 2);
	assert_true(str_eq_z(scan_rules_at(rules, 0)->tags[0], "tag"));
	load(child, 0, rules);
	scan_rules_unref(rules);
	return child;
}

static inline int open_group(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;

	(void)state;
	pool = open_pool(&options);
	return 0;
}

static inline int close_group(void **state)
{
	(void)state;
	scan_pool_close(pool);
	return 0;
}

#endif
