#include "child_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"

/* Rules in the child: compile sources, describe what came out, load sets. */

enum {
	TEXT_MAX = 8 << 20,
	TABLE_MAX = 256 << 20
};

struct compile {
	struct worker *w;
	struct packet_compile options;
	uint8_t *bundle;                           /* owned */
	const struct packet_bundle_entry *entries; /* inside bundle */
	const uint8_t *texts;
	struct engine_compiler *compiler;
	struct engine_rules *rules;
	struct str *namespaces;    /* owned; by source */
	struct engine_buffer part; /* the only source, where not all of its rules are wanted */
	struct buf table;
	uint32_t cursor; /* source of the rule before */
	uint32_t tags;
};

static void compile_release(struct compile *c)
{
	engine_rules_free(c->rules);
	engine_compiler_free(c->compiler);
	buf_release(&c->table);
	engine_buffer_free(&c->part);
	free(c->namespaces);
	free(c->bundle);
}

/* Our own message where the engine has none: it panicked, or said too much. */
static void own_message(struct buf *out, const char *code, const char *title, struct str ns,
			const char *text)
{
	struct json j;

	json_init(&j, out);
	json_arr(&j);
	json_obj(&j);
	json_kv_z(&j, "level", "error");
	json_kv_z(&j, "code", code);
	json_kv_z(&j, "title", title);
	json_kv_i64(&j, "line", 1);
	json_kv_i64(&j, "column", 1);
	json_kv_str(&j, "namespace", ns);
	json_kv_z(&j, "text", text);
	json_obj_end(&j);
	json_arr_end(&j);
	json_end(&j);
}

static uint64_t send_messages(struct compile *c, enum engine_result why, struct str ns)
{
	struct engine_buffer messages = { 0 };
	char text[1024] = "";
	uint64_t n;

	if (why != ENGINE_OK)
		(void)snprintf(text, sizeof text, "%s", engine_last_error());
	if (engine_compiler_messages(c->compiler, &messages) == ENGINE_OK &&
	    messages.len <= TEXT_MAX && (why == ENGINE_OK || why == ENGINE_COMPILE)) {
		n = messages.len;
		worker_data(c->w, STREAM_MESSAGES, messages.data, messages.len);
	} else {
		struct buf out = BUF_INIT(TEXT_MAX);

		if (why == ENGINE_OK || why == ENGINE_COMPILE)
			own_message(&out, "W003", "too many messages", ns, text);
		else
			own_message(&out, "W002", "the compiler failed on these rules", ns, text);
		n = out.n;
		worker_data(c->w, STREAM_MESSAGES, out.p, out.n);
		buf_release(&out);
	}
	engine_buffer_free(&messages);
	return n;
}

static void refuse_sources(struct compile *c, enum engine_result why, struct str ns)
{
	struct packet_compiled done = { .messages_bytes = send_messages(c, why, ns) };

	worker_done(c->w, STATUS_REFUSED, &done, sizeof done, NULL, 0);
}

/* Read and split the bundle; false: answered already. */
static bool take_bundle(struct compile *c, const struct packet *p)
{
	void *room;

	if (p->head.bytes != sizeof c->options || p->head.fds != 1)
		worker_exit(3);
	memcpy(&c->options, p->body, sizeof c->options);
	if (mem_try_alloc(&room, c->options.bundle_bytes + 1, NULL) != 0) {
		worker_fail(c->w, STATUS_FAILED, "no memory for the sources");
		return false;
	}
	c->bundle = room;
	if (worker_pread(p->fds[0], room, c->options.bundle_bytes, 0) != STATUS_OK) {
		worker_fail(c->w, STATUS_FAILED, "the sources cannot be read");
		return false;
	}
	size_t heads = c->options.sources * sizeof(struct packet_bundle_entry);

	if (heads > c->options.bundle_bytes)
		worker_exit(3);
	c->entries = room;
	c->texts = c->bundle + heads;
	uint64_t left = c->options.bundle_bytes - heads;

	for (uint32_t i = 0; i < c->options.sources; i++) {
		uint64_t n = (uint64_t)c->entries[i].ns_bytes + c->entries[i].source_bytes;

		if (n > left)
			worker_exit(3);
		left -= n;
	}
	if (left != c->options.only * sizeof(uint32_t) ||
	    (c->options.only > 0 && c->options.sources != 1))
		worker_exit(3);
	return true;
}

/* Make some rules of the only source the source; false: answered already. */
static bool cut_source(struct compile *c, struct str *source)
{
	const char *end = source->p + source->n;
	enum engine_result rc = ENGINE_PANIC;
	uint32_t *only;

	if (mem_try_array((void **)&only, c->options.only, sizeof *only, NULL) == 0) {
		memcpy(only, end, c->options.only * sizeof *only);
		rc = engine_part(source->p, source->n, only, c->options.only, &c->part);
		free(only);
	}
	if (rc != ENGINE_OK) {
		worker_fail(c->w, STATUS_FAILED, "some rules cannot be taken out");
		return false;
	}
	*source = str_make((const char *)c->part.data, c->part.len);
	return true;
}

/* Add every source; false: answered already. */
static bool add_sources(struct compile *c)
{
	const char *at = (const char *)c->texts;

	for (uint32_t i = 0; i < c->options.sources; i++) {
		struct str ns = str_make(at, c->entries[i].ns_bytes);
		struct str source = str_make(at + ns.n, c->entries[i].source_bytes);
		enum engine_result rc;

		at = source.p + source.n;
		if (c->options.only > 0 && !cut_source(c, &source))
			return false;
		rc = engine_compiler_add(c->compiler, ns.p, ns.n, source.p, source.n);
		if (rc == ENGINE_INVALID) {
			worker_fail(c->w, STATUS_FAILED, engine_last_error());
			return false;
		}
		if (rc != ENGINE_OK) {
			refuse_sources(c, rc, ns);
			return false;
		}
		c->namespaces[i] = ns;
	}
	return true;
}

static uint32_t source_of(struct compile *c, struct str ns)
{
	for (uint32_t tried = 0; tried < c->options.sources; tried++) {
		if (str_eq(c->namespaces[c->cursor], ns))
			return c->cursor;
		c->cursor = (c->cursor + 1) % c->options.sources;
	}
	worker_exit(3); /* every rule has one of our namespaces */
}

static void describe(const struct engine_rule *rule, void *arg)
{
	struct compile *c = arg;
	struct packet_rule head = {
		.source = source_of(c, str_make(rule->ns.p, rule->ns.n)),
		.flags =
			(rule->is_private ? RULE_PRIVATE : 0) | (rule->is_global ? RULE_GLOBAL : 0),
		.name_bytes = (uint32_t)rule->name.n,
		.metadata_bytes = (uint32_t)rule->metadata_json.n,
		.tags = (uint32_t)rule->tag_count,
	};

	buf_add(&c->table, &head, sizeof head);
	for (size_t i = 0; i < rule->tag_count; i++) {
		uint32_t n = (uint32_t)rule->tags[i].n;

		buf_add(&c->table, &n, sizeof n);
	}
	buf_add(&c->table, rule->name.p, rule->name.n);
	buf_add(&c->table, rule->metadata_json.p, rule->metadata_json.n);
	for (size_t i = 0; i < rule->tag_count; i++)
		buf_add(&c->table, rule->tags[i].p, rule->tags[i].n);
	c->tags += (uint32_t)rule->tag_count;
}

/* What the only source asks of samples; without it, any may match. Returns its bytes. */
static uint64_t send_plan(const struct compile *c)
{
	const char *source = (const char *)c->texts + c->entries[0].ns_bytes;
	struct engine_buffer plan = { 0 };
	uint64_t n = 0;

	if (engine_plan(source, c->entries[0].source_bytes, &plan) == ENGINE_OK &&
	    plan.len <= SCAN_PLAN_BYTES_MAX) {
		n = plan.len;
		worker_data(c->w, STREAM_PLAN, plan.data, plan.len);
	}
	engine_buffer_free(&plan);
	return n;
}

static void answer_rules(struct compile *c)
{
	struct engine_buffer code = { 0 };
	struct packet_compiled done = { 0 };

	if (engine_rules_each(c->rules, describe, c) != ENGINE_OK ||
	    engine_rules_serialize(c->rules, &code) != ENGINE_OK) {
		worker_fail(c->w, STATUS_FAILED, engine_last_error());
		return;
	}
	if (buf_failed(&c->table)) {
		engine_buffer_free(&code);
		worker_fail(c->w, STATUS_FAILED, "the table of rules is too large");
		return;
	}
	done.rules = engine_rules_count(c->rules);
	done.tags = c->tags;
	done.table_bytes = c->table.n;
	done.code_bytes = code.len;
	worker_data(c->w, STREAM_TABLE, c->table.p, c->table.n);
	worker_data(c->w, STREAM_CODE, code.data, code.len);
	if (c->options.want_plan && c->options.sources == 1)
		done.plan_bytes = send_plan(c);
	engine_buffer_free(&code);
	worker_done(c->w, STATUS_OK, &done, sizeof done, NULL, 0);
}

static void compile_with(struct compile *c, const struct packet *p)
{
	void *namespaces;

	if (!take_bundle(c, p))
		return;
	if (mem_try_array(&namespaces, c->options.sources + 1u, sizeof(struct str), NULL) != 0) {
		worker_fail(c->w, STATUS_FAILED, "no memory for the sources");
		return;
	}
	c->namespaces = namespaces;

	struct engine_compile_options options = {
		.entity = (enum engine_entity)c->options.entity,
		.retrohunt = c->options.retrohunt,
		.refuse_slow = c->options.refuse_slow,
		.warnings_max = c->options.warnings_max,
	};

	if (engine_compiler_new(&options, &c->compiler) != ENGINE_OK) {
		worker_fail(c->w, STATUS_FAILED, engine_last_error());
		return;
	}
	if (!add_sources(c))
		return;

	/* Before the build, which uses the compiler up. */
	struct engine_buffer warnings = { 0 };

	if (c->options.want_messages &&
	    engine_compiler_messages(c->compiler, &warnings) == ENGINE_OK &&
	    warnings.len <= TEXT_MAX)
		worker_data(c->w, STREAM_MESSAGES, warnings.data, warnings.len);
	engine_buffer_free(&warnings);

	enum engine_result rc = engine_compiler_build(c->compiler, &c->rules);

	if (rc != ENGINE_OK)
		refuse_sources(c, rc, STR(""));
	else
		answer_rules(c);
}

void worker_compile(struct worker *w, const struct packet *p)
{
	struct compile c = { .w = w, .table = BUF_INIT(TABLE_MAX) };

	compile_with(&c, p);
	compile_release(&c);
}

static void slot_empty(struct worker_slot *slot)
{
	engine_scanner_free(slot->scanner);
	engine_rules_free(slot->rules);
	*slot = (struct worker_slot){ 0 };
}

void worker_load(struct worker *w, const struct packet *p)
{
	struct packet_load load;
	void *code;

	if (p->head.bytes != sizeof load)
		worker_exit(3);
	memcpy(&load, p->body, sizeof load);
	if (load.slot >= SCAN_SLOTS || p->head.fds != (load.code_bytes > 0))
		worker_exit(3);

	struct worker_slot *slot = &w->slots[load.slot];

	slot_empty(slot);
	if (load.code_bytes == 0) {
		worker_done(w, STATUS_OK, NULL, 0, NULL, 0);
		return;
	}
	if (mem_try_alloc(&code, load.code_bytes, NULL) != 0) {
		worker_fail(w, STATUS_FAILED, "no memory for the rules");
		return;
	}
	enum engine_result rc = ENGINE_FORMAT;

	if (worker_pread(p->fds[0], code, load.code_bytes, 0) == STATUS_OK)
		rc = engine_rules_load(code, load.code_bytes, &slot->rules);
	free(code);
	if (rc == ENGINE_OK)
		rc = engine_scanner_new(slot->rules, &slot->scanner);
	if (rc != ENGINE_OK) {
		slot_empty(slot);
		worker_fail(w, STATUS_FAILED, engine_last_error());
		return;
	}
	slot->uses = load.uses;
	worker_done(w, STATUS_OK, NULL, 0, NULL, 0);
}
