#ifndef BASE_JSON_VIEW_H
#define BASE_JSON_VIEW_H
#include "base/buf.h"
#include "base/err.h"

/*
 * Looking into JSON text without building anything: for objects that are stored
 * ready to be sent. Nothing is copied; what is found points into the text.
 * Source: RFC 8259. Pure functions; any thread.
 */
enum {
	JSON_VIEW_DEPTH_MAX = 32
};

/*
 * Is the text exactly one JSON value, valid UTF-8, without blanks around it?
 * ERR_CORRUPT with the byte offset; ERR_TOO_LARGE: nested deeper than JSON_VIEW_DEPTH_MAX.
 */
MUST_USE int json_view_check(struct str text, struct err *err);

/* ---- For texts that were checked ---- */

/*
 * The members of an object in order:
 *	for (at = json_view_inside(object); json_view_member(&at, &key, &value);)
 * key: as written, without quotes and with escapes. value: one complete value.
 */
struct str json_view_inside(struct str object);
bool json_view_member(struct str *at, struct str *ret_key, struct str *ret_value);

/* The first member of that name; empty if there is none or it is no object. */
struct str json_view_find(struct str object, struct str key);

/* Append what a JSON string stands for; nothing for other values. */
void json_view_text(struct str value, struct buf *out);
#endif
