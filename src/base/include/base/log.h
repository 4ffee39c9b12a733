#ifndef BASE_LOG_H
#define BASE_LOG_H
#include <stdint.h>
#include "base/str.h"

/*
 * Events with fields, one JSON object a line on standard error (or one text
 * line where that is a terminal). Never keys, tokens, rule bodies, sample bytes.
 *
 * More than 50 equal ones (event and level) within a second are counted instead of
 * written; a line "repeats" with the count follows at the first log_write() after
 * that second, or at log_flush(). Strings are cut at 1 KB.
 *
 *   log_event(LOG_WARN, "scan_child_died", LOG_STR("sha256", id), LOG_I64("signal", 9));
 */
enum log_level {
	LOG_ERROR, /* someone must act */
	LOG_WARN,  /* odd, continuing */
	LOG_INFO,  /* one line a request or job step */
	LOG_DEBUG,
};

struct log_field {
	const char *key;
	enum {
		LOG_FIELD_END,
		LOG_FIELD_STR,
		LOG_FIELD_I64,
		LOG_FIELD_BOOL
	} kind;
	struct str s;
	int64_t i;
};

#define LOG_STR(k, v) ((struct log_field){ (k), LOG_FIELD_STR, (v), 0 })
#define LOG_Z(k, v) ((struct log_field){ (k), LOG_FIELD_STR, str_of(v), 0 })
#define LOG_I64(k, v) ((struct log_field){ (k), LOG_FIELD_I64, { NULL, 0 }, (int64_t)(v) })
#define LOG_BOOL(k, v) ((struct log_field){ (k), LOG_FIELD_BOOL, { NULL, 0 }, (v) ? 1 : 0 })

#define log_event(level, event, ...)                                                               \
	log_write((level), (event), (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ 0 } })

/*
 * The same for what must be told each time: a request, a removal, a suspension.
 * Never coalesced. Beyond 200 a second those that follow each other within 20 ms
 * are written together, by the next one or by log_flush (called each second and
 * at the end).
 */
#define log_record(level, event, ...)                                                              \
	log_write_record((level), (event),                                                         \
			 (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ 0 } })

void log_write_record(enum log_level level, const char *event, const struct log_field *fields);
void log_write(enum log_level level, const char *event, const struct log_field *fields);
void log_flush(void); /* writes records that were gathered and counts of repeats still held back;
			 before the process ends */
void log_set_level(enum log_level max);
/* false: unknown name. */
bool log_level_parse(struct str s, enum log_level *ret);
/* NULL: standard error. Otherwise every line goes to sink instead. For tests. */
void log_set_sink(void (*sink)(enum log_level level, struct str line, void *arg), void *arg);
/* NULL: the system's. For tests. */
struct clock;
void log_set_clock(struct clock *c);
#endif
