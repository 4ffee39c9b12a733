#include "pool_internal.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/utf8.h"

/* Compiled sets as the parent knows them: believed only as far as checked here. */

enum {
	IDENTIFIER_BYTES_MAX = 128 /* YARA's own limit */
};

struct scan_rules *scan_rules_ref(struct scan_rules *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

struct scan_rules *scan_rules_unref(struct scan_rules *r)
{
	if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	if (r->code_fd >= 0)
		close(r->code_fd);
	free(r->rules);
	free(r->tags);
	free(r->table);
	free((void *)(uintptr_t)r->plan.p);
	free(r);
	return NULL;
}

uint32_t scan_rules_count(const struct scan_rules *r)
{
	return r->count;
}

const struct scan_rule *scan_rules_at(const struct scan_rules *r, uint32_t index)
{
	REQUIRE(index < r->count);
	return &r->rules[index];
}

uint64_t scan_rules_bytes(const struct scan_rules *r)
{
	return r->code_bytes;
}

bool scan_rules_asks_facts(const struct scan_rules *r)
{
	return r->uses != 0;
}

struct str scan_rules_plan(const struct scan_rules *r)
{
	return r->plan;
}

static bool is_identifier(struct str s)
{
	if (s.n == 0 || s.n > IDENTIFIER_BYTES_MAX || (s.p[0] >= '0' && s.p[0] <= '9'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		      (c >= 'a' && c <= 'z')))
			return false;
	}
	return true;
}

/* [["key", scalar], …]: it is spliced into our own JSON, so it must be whole. */
static bool is_metadata(struct str s)
{
	json_t *root = json_loadb(s.p, s.n, JSON_ALLOW_NUL, NULL), *pair;
	size_t i;
	bool good = json_is_array(root);

	json_array_foreach(root, i, pair)
	{
		good = good && json_is_array(pair) && json_array_size(pair) == 2 &&
		       json_is_string(json_array_get(pair, 0)) &&
		       !json_is_array(json_array_get(pair, 1)) &&
		       !json_is_object(json_array_get(pair, 1));
	}
	json_decref(root);
	return good;
}

struct reader {
	const char *at;
	size_t left;
};

static bool read_bytes(struct reader *r, size_t n, struct str *ret)
{
	if (n > r->left)
		return false;
	*ret = str_make(r->at, n);
	r->at += n;
	r->left -= n;
	return true;
}

static bool read_rule(struct reader *r, struct scan_rules *rules, struct scan_rule *rule,
		      uint32_t sources, uint32_t *tags_left)
{
	struct packet_rule head;
	struct str bytes, tag_bytes;

	if (!read_bytes(r, sizeof head, &bytes))
		return false;
	memcpy(&head, bytes.p, sizeof head);
	if (head.source >= sources || (head.flags & ~(uint32_t)(RULE_PRIVATE | RULE_GLOBAL)) != 0 ||
	    head.tags > *tags_left)
		return false;
	rule->source = head.source;
	rule->is_private = head.flags & RULE_PRIVATE;
	rule->is_global = head.flags & RULE_GLOBAL;
	rule->tag_count = head.tags;
	if (!read_bytes(r, (size_t)head.tags * sizeof(uint32_t), &tag_bytes) ||
	    !read_bytes(r, head.name_bytes, &rule->name) ||
	    !read_bytes(r, head.metadata_bytes, &rule->metadata_json))
		return false;

	struct str *tags = rules->tags + *tags_left - head.tags; /* filled from the end */

	for (uint32_t i = 0; i < head.tags; i++) {
		uint32_t n;

		memcpy(&n, tag_bytes.p + i * sizeof n, sizeof n);
		if (!read_bytes(r, n, &tags[i]) || !is_identifier(tags[i]))
			return false;
	}
	rule->tags = tags;
	*tags_left -= head.tags;
	return is_identifier(rule->name) && is_metadata(rule->metadata_json);
}

int scan_rules_parse(struct scan_rules **ret, char *table, size_t table_bytes,
		     const struct packet_compiled *head, uint32_t sources, int code_fd,
		     struct err *err)
{
	struct scan_rules *r = mem_must_zalloc(sizeof *r);
	struct reader reader = { table, table_bytes };
	uint32_t tags_left = head->tags;
	void *rules = NULL, *tags = NULL;
	int rc;

	atomic_init(&r->refs, 1);
	r->table = table;
	r->code_fd = code_fd;
	r->code_bytes = head->code_bytes;
	/* Counts that the bytes cannot hold would only make us allocate. */
	if (head->rules > table_bytes / sizeof(struct packet_rule) ||
	    head->tags > table_bytes / sizeof(uint32_t)) {
		scan_rules_unref(r);
		return err_set(err, ERR_CORRUPT, "a table of %zu bytes for %u rules", table_bytes,
			       head->rules);
	}
	rc = mem_try_array(&rules, head->rules + 1ul, sizeof *r->rules, err);
	if (rc == 0)
		rc = mem_try_array(&tags, head->tags + 1ul, sizeof *r->tags, err);
	r->rules = rules;
	r->tags = tags;
	for (r->count = 0; rc == 0 && r->count < head->rules; r->count++) {
		if (!read_rule(&reader, r, &r->rules[r->count], sources, &tags_left))
			rc = err_set(err, ERR_CORRUPT, "entry %u of the table of rules", r->count);
	}
	if (rc == 0 && (reader.left != 0 || tags_left != 0))
		rc = err_set(err, ERR_CORRUPT, "a table of rules with a tail");
	if (rc != 0) {
		scan_rules_unref(r);
		return rc;
	}
	*ret = r;
	return 0;
}
