#ifndef STORE_FILTER_H
#define STORE_FILTER_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"

/*
 * The filter language of VirusTotal's API v3 lists ("date:3d+ entity_type:url"):
 * text to a tree, and a tree to canonical text. The grammar is the superset of
 * what is documented and what clients send:
 *
 *   filter  := or                      "" is everything
 *   or      := and { "OR" and }        operators in any case
 *   and     := not { ["AND"] not }     side by side is AND
 *   not     := { "NOT" } primary
 *   primary := "(" or ")" | term
 *   term    := [ key ":" ] value
 *   value   := word | "…" | '…'        typographic quotes too; \" \\ \* inside quotes
 *   word    := a run without blank, parenthesis, quote; `*` stands for any text
 *
 * Which keys there are and what their values mean is a table, a struct
 * filter_schema, made from a .def file (store/stream_fields.def is the stream's).
 * A word whose part before ':' cannot be a key (http://…, 2001:db8::1) is text.
 *
 * Threads: no state; a tree is immutable once parsed and may be shared.
 * Ownership: a tree lives in the arena it was parsed into, with all its text.
 */

enum filter_kind {
	FILTER_DATE,   /* an interval of seconds */
	FILTER_NUMBER, /* an interval of numbers */
	FILTER_ENUM,   /* one of a few names: a set of small numbers, as bits */
	FILTER_ENTITY, /* a file, URL, domain or address */
	FILTER_ID,     /* the id of an object */
	FILTER_TAG,    /* a tag, compared as normalised */
	FILTER_TEXT,   /* names: all words of the value occur */
	FILTER_ANY,    /* text without a key: names, tags or an entity */
};

struct filter_field {
	const char *key; /* NULL: the entry for text without a key */
	enum filter_kind kind;
	int column;         /* what it is about, in the numbers of the schema's owner */
	const char *plural; /* FILTER_ENUM: for "Valid origins are: …" */
	const char *doc;
};

/* A name that field `key` takes, and the values of its column that it stands for. */
struct filter_value {
	const char *key;
	const char *name;
	uint32_t mask; /* bit n: the number n; none: accepted, matches nothing */
};

struct filter_schema {
	const struct filter_field *fields;
	size_t field_count;
	const struct filter_value *values;
	size_t value_count;
	const struct filter_field *any; /* for text without a key */
};

/* In a value's text this byte is the wildcard; every other byte stands for itself. */
#define FILTER_STAR '\x01'

struct filter_entity {
	enum {
		FILTER_ENTITY_NONE,   /* the text names none */
		FILTER_ENTITY_SHA256, /* a file or a URL */
		FILTER_ENTITY_HASH,   /* MD5 or SHA-1 of a file not known when parsed */
		FILTER_ENTITY_TEXT,   /* a domain or an address */
	} kind;
	uint8_t sha256[SHA256_BYTES];
	struct str text; /* HASH: hex digits, lower case; TEXT: the name, lower case */
};

enum filter_op {
	FILTER_ALL,
	FILTER_TERM,
	FILTER_NOT,
	FILTER_AND,
	FILTER_OR
};

/*
 * FILTER_ALL is the whole tree of an empty filter and occurs nowhere else. AND
 * and OR have at least two children, none of their own kind.
 */
struct filter_node {
	enum filter_op op;
	uint32_t kid_count;
	const struct filter_node **kids;
	/* FILTER_TERM */
	const struct filter_field *field;
	struct str text;             /* the value; ENUM, ENTITY, TAG: in canonical form */
	bool has_star;               /* FILTER_STAR occurs in text */
	int64_t lo, hi;              /* DATE: lo <= t < hi, UNIX seconds; INT64_MIN/MAX: open */
	double num_lo, num_hi;       /* NUMBER: both included; infinite: open */
	uint32_t mask;               /* ENUM: values; ID: kinds of source that can have this id */
	int64_t id;                  /* ID: the number; -1 matches nothing */
	struct filter_entity entity; /* ENTITY, ANY */
	struct str tag;              /* TAG, ANY: normalised */
	const struct str *words;     /* TEXT, ANY: in lower case (ASCII) */
	uint32_t word_count;
};

/*
 * What a value may need from outside. Callbacks return true if they know; without
 * them MD5 and SHA-1 stay unresolved, a URL is hashed as written, and ids are
 * decimal numbers.
 */
struct filter_env {
	int64_t now_s; /* UNIX seconds; relative dates count from here */
	bool (*hash)(void *arg, struct str hex, uint8_t ret_sha256[SHA256_BYTES]);
	bool (*url)(void *arg, struct str url, uint8_t ret_sha256[SHA256_BYTES]);
	/* An object's id as clients write it: its number, and which kinds can have it. */
	bool (*id)(void *arg, struct str id, uint32_t *ret_kinds, int64_t *ret_id);
	void *arg;
};

enum {
	FILTER_ARENA_BYTES = 1024 * 1024
}; /* the largest tree of a permitted filter fits */

/*
 * Parse `text`. Relative dates become absolute here (so a printed tree is frozen).
 * ERR_INVALID with a text for the client: place (1-based character) and what was
 * expected, or the API's own wording for a value of an enumerated key. ERR_NO_MEMORY
 * if the arena's maximum is reached.
 */
MUST_USE int filter_parse(const struct filter_node **ret, struct arena *arena,
			  const struct filter_schema *schema, struct str text,
			  const struct filter_env *env, struct err *err);

/*
 * Canonical text: parsing it with the same schema gives an equal tree. A value
 * resolved through the environment is printed resolved (a URL as its SHA-256).
 */
void filter_print(struct buf *out, const struct filter_node *node);

/* Same structure and values. */
bool filter_equal(const struct filter_node *a, const struct filter_node *b);

/* Does the tree hold, given each term's truth? */
typedef bool (*filter_term_fn)(const struct filter_node *term, const void *item);
bool filter_eval(const struct filter_node *node, filter_term_fn term, const void *item);

/*
 * Dates (filter_date.c): a day, a date-time (T10:00:00, T10-00-00, Z allowed),
 * UNIX seconds, or <n>[smhdw] before now; then + (since), - (before) or nothing
 * (the whole day; that second; for a relative one the same as +, because the plus
 * of "date:3d+" is lost where clients do not encode it). false: not a date.
 */
bool filter_date_parse(struct str s, int64_t now_s, int64_t *ret_lo, int64_t *ret_hi);
void filter_date_print(struct buf *out, int64_t lo, int64_t hi);

/* Texts (filter_text.c), ASCII letters without regard to case. */
bool filter_glob(struct str pattern, struct str s);   /* the whole of s; FILTER_STAR is any text */
bool filter_within(struct str pattern, struct str s); /* somewhere in s */
bool filter_words_within(const struct filter_node *term, struct str s); /* every word of it */
/* Lower case (ASCII; other UTF-8 as it is), each run of blanks becomes one '_', ends trimmed. */
void filter_tag_normalise(struct buf *out, struct str tag);
#endif
