#ifndef BASE_JSON_H
#define BASE_JSON_H
#include "base/buf.h"

/*
 * Writes JSON into a buf, commas and nesting kept and asserted. Strings are
 * cleaned to valid UTF-8 (U+FFFD for bad bytes) and escaped. Keys are written
 * in the order given. Failure (over the buffer's maximum) is the buffer's.
 */
enum {
	JSON_DEPTH_MAX = 32
};
struct json {
	struct buf *out;
	uint8_t depth;
	bool need_comma;
	bool after_key;
	char nest[JSON_DEPTH_MAX];
};

void json_init(struct json *j, struct buf *out);
void json_obj(struct json *j);
void json_obj_end(struct json *j);
void json_arr(struct json *j);
void json_arr_end(struct json *j);
void json_key(struct json *j, const char *key);
void json_str(struct json *j, struct str s);
void json_z(struct json *j, const char *z); /* NULL writes null */
void json_i64(struct json *j, int64_t v);
void json_u64(struct json *j, uint64_t v);
/* Shortest form that reads back the same, whole ones as "100.0"; not finite writes null. */
void json_f64(struct json *j, double v);
void json_bool(struct json *j, bool v);
void json_put_null(struct json *j);
/* Splice text that is one complete JSON value already. */
void json_raw(struct json *j, struct str value);
/* Splice the inside of a stored object ("\"a\":1,\"b\":2"), inside an open object. */
void json_raw_members(struct json *j, struct str members);
/* The whole document is closed: asserts depth 0. */
void json_end(struct json *j);

/* key + value in one line */
void json_kv_str(struct json *j, const char *key, struct str s);
void json_kv_z(struct json *j, const char *key, const char *z);
void json_kv_i64(struct json *j, const char *key, int64_t v);
void json_kv_bool(struct json *j, const char *key, bool v);

/* Only the escaping, with quotes. */
void json_escape(struct buf *out, struct str s);
#endif
