#include "scan/scan.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "pool_internal.h"

/* The parent's side of COMPILE. */

#define SOURCES_MAX (1u << 20) /* a hundred times the rulesets planned for */
#define SOURCES_BYTES_MAX (UINT64_C(512) << 20)
#define TABLE_BYTES_MAX (UINT64_C(256) << 20)
#define CODE_BYTES_MAX (UINT64_C(1) << 30) /* 5,849 rules take 9 MB */
#define MESSAGES_BYTES_MAX ((size_t)8 << 20)

/* What has come of an answer so far. */
struct answer {
	struct buf messages;
	struct buf table;
	struct buf plan;
	int code_fd;
	uint64_t code_bytes;
};

static void answer_release(struct answer *a)
{
	buf_release(&a->messages);
	buf_release(&a->table);
	buf_release(&a->plan);
	if (a->code_fd >= 0)
		close(a->code_fd);
}

static int bundle_bytes(const struct scan_source *sources, size_t n, uint64_t *ret, struct err *err)
{
	uint64_t bytes = n * sizeof(struct packet_bundle_entry);

	if (n > SOURCES_MAX)
		return err_set(err, ERR_TOO_LARGE, "%zu sources in one set", n);
	for (size_t i = 0; i < n; i++) {
		bytes += sources[i].ns.n + sources[i].source.n;
		if (bytes > SOURCES_BYTES_MAX)
			return err_set(err, ERR_TOO_LARGE,
				       "more than %llu MB of sources in one set",
				       (unsigned long long)(SOURCES_BYTES_MAX >> 20));
	}
	*ret = bytes;
	return 0;
}

static int bundle_write(int fd, const struct scan_source *sources, size_t n,
			const struct scan_compile_options *options, uint64_t bytes, struct err *err)
{
	AUTO(mem_drop) void *room = NULL;

	TRY(mem_try_alloc(&room, bytes + 1, err));
	struct packet_bundle_entry *entries = room;
	char *at = (char *)(entries + n);

	for (size_t i = 0; i < n; i++) {
		entries[i] = (struct packet_bundle_entry){ (uint32_t)sources[i].ns.n,
							   (uint32_t)sources[i].source.n };
		if (sources[i].ns.n > 0)
			memcpy(at, sources[i].ns.p, sources[i].ns.n);
		at += sources[i].ns.n;
		if (sources[i].source.n > 0)
			memcpy(at, sources[i].source.p, sources[i].source.n);
		at += sources[i].source.n;
	}
	if (options->only_count > 0)
		memcpy(at, options->only, options->only_count * sizeof options->only[0]);
	TRY(memory_file_add(fd, room, bytes, err));
	return memory_file_seal(fd, err);
}

static bool is_word(char c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

/*
 * Can the source use this variable? Where it does, its name is a word of its own that no
 * dot stands before (of a module's field), none of $#@! (of a string), and no single '=' behind (of
 * a piece of metadata, as the many rules with md5 = "…" have it).
 */
static bool names_variable(struct str source, const char *name)
{
	size_t n = strlen(name);
	const char *end = source.p + source.n, *at = source.p, *after;

	for (; (at = memmem(at, (size_t)(end - at), name, n)) != NULL; at = after) {
		after = at + n;
		if (at > source.p && (is_word(at[-1]) || memchr("$#@!", at[-1], 4) != NULL))
			continue;
		/* Two dots are a range. */
		if (at > source.p && at[-1] == '.' && !(at - source.p > 1 && at[-2] == '.'))
			continue;
		if (after < end && is_word(*after))
			continue;
		const char *next = after;

		while (next < end && (*next == ' ' || *next == '\t'))
			next++;
		if (next + 1 < end && next[0] == '=' && next[1] != '=')
			continue;
		return true;
	}
	return false;
}

/* The facts that the sources can ask for. Too many only cost time. Only file rules know the legacy
 * variables. */
static uint32_t facts_named(const struct scan_source *sources, size_t n, enum scan_entity entity)
{
	uint32_t uses = 0;

	for (unsigned f = 0; f < FACT_COUNT; f++) {
		if (entity != SCAN_FILE && f != FACT_VT)
			continue;
		for (size_t i = 0; i < n && !(uses & (1u << f)); i++) {
			if (names_variable(sources[i].source, fact_names[f]))
				uses |= 1u << f;
		}
	}
	return uses;
}

static int add_data(struct scan_child *child, struct answer *a, const struct packet *p,
		    struct err *err)
{
	switch (p->head.stream) {
	case STREAM_MESSAGES:
		buf_add(&a->messages, p->body, p->head.bytes);
		if (buf_failed(&a->messages))
			return client_lie(child, err, "too many messages");
		return 0;
	case STREAM_TABLE:
		buf_add(&a->table, p->body, p->head.bytes);
		if (buf_failed(&a->table))
			return client_lie(child, err, "too large a table of rules");
		return 0;
	case STREAM_PLAN:
		buf_add(&a->plan, p->body, p->head.bytes);
		if (buf_failed(&a->plan))
			return client_lie(child, err, "too large a plan");
		return 0;
	case STREAM_CODE:
		a->code_bytes += p->head.bytes;
		if (a->code_bytes > CODE_BYTES_MAX)
			return client_lie(child, err, "too much code");
		return memory_file_add(a->code_fd, p->body, p->head.bytes, err);
	default:
		return client_lie(child, err, "data of kind %u", p->head.stream);
	}
}

/* An array of objects; it goes to users as it is. */
static int take_messages(struct scan_child *child, const struct answer *a, bool refused,
			 struct buf *messages, struct err *err)
{
	json_t *root, *one;
	size_t i;
	bool good, has_error = false;

	if (a->messages.n == 0 && !refused)
		return 0;
	root = json_loadb(buf_str(&a->messages).p, a->messages.n, JSON_ALLOW_NUL, NULL);
	good = json_is_array(root);
	json_array_foreach(root, i, one)
	{
		const char *level = json_string_value(json_object_get(one, "level"));

		good = good && level != NULL;
		has_error |= level != NULL && strcmp(level, "error") == 0;
	}
	json_decref(root);
	if (!good || has_error != refused)
		return client_lie(child, err, "messages that are none");
	if (messages == NULL)
		return 0;
	buf_add_str(messages, buf_str(&a->messages));
	return buf_check(messages, "the compiler's messages", err);
}

static int take_rules(struct scan_child *child, struct answer *a,
		      const struct packet_compiled *head, uint32_t sources, struct scan_rules **ret,
		      struct err *err)
{
	struct err why = { 0 };
	size_t table_bytes = a->table.n;
	int code_fd = a->code_fd;

	if (head->table_bytes != a->table.n || head->code_bytes != a->code_bytes ||
	    a->code_bytes == 0 || head->plan_bytes != a->plan.n)
		return client_lie(child, err, "sizes that are not true");
	TRY(memory_file_seal(code_fd, err));
	a->code_fd = -1;
	int rc = scan_rules_parse(ret, buf_steal(&a->table), table_bytes, head, sources, code_fd,
				  &why);

	if (rc == -ERR_CORRUPT)
		return client_lie(child, err, "%s", why.msg);
	if (rc != 0)
		return err_set(err, (enum err_kind) - rc, "%s", why.msg);
	if (a->plan.n > 0) {
		size_t plan_bytes = a->plan.n;

		(*ret)->plan = str_make(buf_steal(&a->plan), plan_bytes);
	}
	return 0;
}

/* Read the whole answer; *ret_rules stays NULL when the rules are refused. */
static int receive(struct scan_child *child, struct answer *a, uint32_t sources,
		   uint32_t timeout_ms, struct scan_rules **ret_rules, struct buf *messages,
		   struct err *err)
{
	int64_t deadline_us = client_deadline(timeout_ms);
	struct packet_compiled head;
	struct packet p;

	for (;;) {
		TRY(client_recv(child, child->seq, deadline_us, timeout_ms, &p, err));
		if (p.head.type == PACKET_DONE)
			break;
		int rc = add_data(child, a, &p, err);

		if (rc != 0 && !child->dead) /* what is still to come belongs to nothing */
			return client_kill(child, err, (enum err_kind) - rc,
					   "its answer could not be stored");
		TRY(rc);
	}
	if (p.head.status != STATUS_OK && p.head.status != STATUS_REFUSED)
		return client_failed(child, &p, err);
	if (p.head.bytes != sizeof head)
		return client_lie(child, err, "an end of %u bytes", p.head.bytes);
	memcpy(&head, p.body, sizeof head);
	if (p.head.status == STATUS_REFUSED)
		return take_messages(child, a, true, messages, err);

	struct scan_rules *rules = NULL;

	TRY(take_rules(child, a, &head, sources, &rules, err));
	int rc = take_messages(child, a, false, messages, err);

	if (rc != 0)
		rules = scan_rules_unref(rules);
	else
		*ret_rules = rules;
	return rc;
}

int scan_compile(struct scan_child *child, const struct scan_source *sources, size_t n,
		 const struct scan_compile_options *options, struct scan_rules **ret_rules,
		 struct buf *messages, struct err *err)
{
	AUTO(answer_release)
	struct answer a = { .messages = BUF_INIT(MESSAGES_BYTES_MAX),
			    .table = BUF_INIT(TABLE_BYTES_MAX),
			    .plan = BUF_INIT(SCAN_PLAN_BYTES_MAX),
			    .code_fd = -1 };
	struct packet_compile request = {
		.entity = options->entity,
		.warnings_max = options->warnings_max,
		.sources = (uint32_t)n,
		.retrohunt = options->retrohunt,
		.refuse_slow = options->refuse_slow,
		.want_messages = messages != NULL,
		.want_plan = options->want_plan,
		.only = options->only_count,
	};
	struct iovec part = { &request, sizeof request };
	int bundle = -1;

	REQUIRE(child->pending == 0);
	REQUIRE((!options->want_plan && options->only_count == 0) || n == 1);
	REQUIRE(options->only_count <= SCAN_ONLY_MAX);
	TRY(bundle_bytes(sources, n, &request.bundle_bytes, err));
	request.bundle_bytes += options->only_count * sizeof options->only[0];
	TRY(client_begin(child, err));
	TRY(memory_file_new(&a.code_fd, "weir-rules", err));
	TRY(memory_file_new(&bundle, "weir-sources", err));
	int rc = bundle_write(bundle, sources, n, options, request.bundle_bytes, err);

	if (rc == 0)
		rc = client_send(child, PACKET_COMPILE, &part, 1, &bundle, 1, err);
	close(bundle);
	TRY(rc);

	struct scan_rules *rules = NULL;

	TRY(receive(child, &a, (uint32_t)n,
		    options->timeout_ms ? options->timeout_ms
					: child->pool->options.compile_timeout_ms,
		    &rules, messages, err));
	if (rules != NULL)
		rules->uses = facts_named(sources, n, options->entity);
	*ret_rules = rules;
	return 0;
}
