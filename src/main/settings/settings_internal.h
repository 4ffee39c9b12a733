#ifndef MAIN_SETTINGS_INTERNAL_H
#define MAIN_SETTINGS_INTERNAL_H
#include "main/settings.h"

/* ---- toml.c: the part of TOML 1.0 that flat settings need ---- */
enum toml_type {
	TOML_STRING,  /* "basic" or 'literal', in one line */
	TOML_INTEGER, /* decimal, not negative */
	TOML_BOOLEAN
};
struct toml_entry {
	struct str key;
	enum toml_type type;
	struct str value; /* of a string what it stands for; of a number its digits */
	unsigned line;
};
/*
 * Calls `each` for every entry; its failure ends the reading and is returned.
 * ERR_INVALID says what is wrong. *ret_line: the line the reading ended in.
 */
MUST_USE int toml_read(struct str text,
		       int (*each)(void *arg, const struct toml_entry *entry, struct err *err),
		       void *arg, unsigned *ret_line, struct err *err);
#endif
