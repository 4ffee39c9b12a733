#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/thread.h"
#include "base/utf8.h"

enum {
	LOG_VALUE_BYTES = 1024,      /* a longer string is cut */
	LOG_LINE_BYTES = 256 * 1024, /* 40 such values of which every byte is escaped */
	LOG_REPEATS = 50,            /* equal events a window that are written */
	LOG_WINDOW_US = 1000 * 1000,
	LOG_EVENTS = 64, /* kinds of event watched for repeats at a time */
	LOG_EVENT_BYTES = 64,
	LOG_PENDING_BYTES = 64 * 1024, /* records gathered before they are written */
	LOG_AT_ONCE = 200,             /* records of a second that are written at once */
	LOG_GATHER_US = 20 * 1000,     /* those that follow each other faster are gathered */
};

/* One kind of event within its current window. */
struct repeat {
	uint64_t key; /* of level and event; 0 is free */
	int64_t since_us;
	uint64_t written;
	uint64_t held_back;
	enum log_level level;
	char event[LOG_EVENT_BYTES]; /* cut to fit */
};

static struct lock log_lock = { PTHREAD_MUTEX_INITIALIZER, LOCK_LOG };
static struct repeat repeats[LOG_EVENTS] GUARDED_BY(log_lock);
static void (*log_sink)(enum log_level level, struct str line, void *arg) GUARDED_BY(log_lock);
static void *log_sink_arg GUARDED_BY(log_lock);
static struct clock *log_clock GUARDED_BY(log_lock);
static struct buf log_pending GUARDED_BY(log_lock) = { .max = 2 * LOG_PENDING_BYTES +
							      LOG_LINE_BYTES };
/* Monotonic: when records were last written, and the second in which they are counted. */
static int64_t log_written_us GUARDED_BY(log_lock);
static int64_t log_second_us GUARDED_BY(log_lock);
static unsigned log_second_records GUARDED_BY(log_lock);
static _Atomic int log_level_max = LOG_INFO;

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_set_level(enum log_level max)
{
	atomic_store_explicit(&log_level_max, (int)max, memory_order_relaxed);
}

bool log_level_parse(struct str s, enum log_level *ret)
{
	for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
		if (str_eq_z(s, level_names[i])) {
			*ret = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void log_set_sink(void (*sink)(enum log_level level, struct str line, void *arg), void *arg)
{
	lock_take(&log_lock);
	log_sink = sink;
	log_sink_arg = arg;
	lock_drop(&log_lock);
}

void log_set_clock(struct clock *c)
{
	lock_take(&log_lock);
	log_clock = c;
	memset(repeats, 0, sizeof repeats);
	lock_drop(&log_lock);
}

/* "2026-11-23T06:36:00.123Z" */
static void put_time(struct buf *b, int64_t unix_us)
{
	char text[40];
	unsigned ms = (unsigned)(unix_us / 1000 % 1000);
	size_t n = strlen(time_format_utc(unix_us / 1000000, text)) - 1;

	text[n++] = '.';
	text[n++] = (char)('0' + ms / 100 % 10);
	text[n++] = (char)('0' + ms / 10 % 10);
	text[n++] = (char)('0' + ms % 10);
	text[n++] = 'Z';
	buf_add(b, text, n);
}

static void put_json(struct buf *b, int64_t unix_us, enum log_level level, const char *event,
		     const struct log_field *fields)
{
	struct json j;

	json_init(&j, b);
	json_obj(&j);
	json_key(&j, "time");
	buf_add_c(b, '"');
	put_time(b, unix_us);
	buf_add_c(b, '"');
	j.after_key = false;
	j.need_comma = true;
	json_kv_z(&j, "level", level_names[level]);
	json_kv_str(&j, "event", utf8_cut(str_of(event), LOG_VALUE_BYTES));
	for (; fields->kind != LOG_FIELD_END; fields++) {
		if (fields->kind == LOG_FIELD_STR)
			json_kv_str(&j, fields->key, utf8_cut(fields->s, LOG_VALUE_BYTES));
		else if (fields->kind == LOG_FIELD_BOOL)
			json_kv_bool(&j, fields->key, fields->i != 0);
		else
			json_kv_i64(&j, fields->key, fields->i);
	}
	json_obj_end(&j);
	json_end(&j);
}

/* Could it move the cursor, hide text or turn its direction on a terminal? */
static bool is_tricky(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || (cp >= 0x200b && cp <= 0x200f) ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff;
}

static void put_text_value(struct buf *b, struct str s)
{
	bool quote = s.n == 0;

	for (size_t i = 0; i < s.n; i++)
		quote = quote || s.p[i] == ' ' || s.p[i] == '"' || s.p[i] == '=';
	if (quote)
		buf_add_c(b, '"');
	while (s.n > 0) {
		uint32_t cp = 0xfffd;
		size_t len = utf8_next(s, &cp);

		if (is_tricky(cp))
			buf_addf(b, "\\u%04x", cp);
		else if (cp == '"' || cp == '\\')
			buf_addf(b, "\\%c", (char)cp);
		else
			utf8_put(b, cp);
		len = len == 0 ? 1 : len;
		s = str_make(s.p + len, s.n - len);
	}
	if (quote)
		buf_add_c(b, '"');
}

static void put_text(struct buf *b, int64_t unix_us, enum log_level level, const char *event,
		     const struct log_field *fields)
{
	put_time(b, unix_us);
	buf_addf(b, " %-5s %s", level_names[level], event);
	for (; fields->kind != LOG_FIELD_END; fields++) {
		buf_addf(b, " %s=", fields->key);
		if (fields->kind == LOG_FIELD_STR)
			put_text_value(b, utf8_cut(fields->s, LOG_VALUE_BYTES));
		else if (fields->kind == LOG_FIELD_BOOL)
			buf_add_z(b, fields->i ? "true" : "false");
		else
			buf_add_i64(b, fields->i);
	}
}

/* One write(2), so that lines of several processes do not mix; the rest if it was short. */
static void write_stderr(struct str line)
{
	while (line.n > 0) {
		ssize_t put = write(STDERR_FILENO, line.p, line.n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return; /* there is nobody left to tell */
		line = str_make(line.p + put, line.n - (size_t)put);
	}
}

static void write_pending_locked(void) MUST_HOLD(log_lock)
{
	if (log_pending.n > 0)
		write_stderr(buf_str(&log_pending));
	buf_reset(&log_pending);
}

static void put_line(struct buf *b, bool text, int64_t unix_us, enum log_level level,
		     const char *event, const struct log_field *fields)
{
	static const struct log_field too_long[] = { { "too_long", LOG_FIELD_BOOL, { NULL, 0 }, 1 },
						     { 0 } };

	(text ? put_text : put_json)(b, unix_us, level, event, fields);
	if (buf_failed(b)) {
		buf_reset(b);
		(text ? put_text : put_json)(b, unix_us, level, event, too_long);
	}
}

static void emit_locked(int64_t unix_us, enum log_level level, const char *event,
			const struct log_field *fields) MUST_HOLD(log_lock)
{
	struct buf b = BUF_INIT(LOG_LINE_BYTES);

	put_line(&b, !log_sink && isatty(STDERR_FILENO), unix_us, level, event, fields);
	if (log_sink) {
		log_sink(level, buf_str(&b), log_sink_arg);
	} else {
		buf_add_c(&b, '\n');
		write_pending_locked(); /* lines stay in order */
		write_stderr(buf_str(&b));
	}
	buf_release(&b);
}

/* Tell what the slot held back and free it. */
static void repeat_end_locked(struct repeat *r, int64_t unix_us) MUST_HOLD(log_lock)
{
	if (r->key != 0 && r->held_back > 0) {
		const struct log_field fields[] = { LOG_Z("of", r->event),
						    LOG_I64("count", r->held_back),
						    { 0 } };

		emit_locked(unix_us, r->level, "repeats", fields);
	}
	r->key = 0;
}

/*
 * Count this event in its window; ends windows whose time is up (of all events,
 * so that the last count of a burst is told by whatever comes next).
 * false: hold the line back.
 */
static bool repeat_count_locked(enum log_level level, const char *event, int64_t now_us,
				int64_t unix_us) MUST_HOLD(log_lock)
{
	uint64_t key = hash64(event, strlen(event), (uint64_t)level) | 1;
	struct repeat *slot = &repeats[0];
	struct repeat *found = NULL;

	for (unsigned i = 0; i < LOG_EVENTS; i++) {
		struct repeat *r = &repeats[i];

		if (r->key != 0 && now_us - r->since_us >= LOG_WINDOW_US)
			repeat_end_locked(r, unix_us);
		if (r->key == key)
			found = r;
		/* For a new kind: a free slot, else the oldest. */
		if (slot->key != 0 && (r->key == 0 || r->since_us < slot->since_us))
			slot = r;
	}
	if (!found) {
		struct str name = utf8_cut(str_of(event), LOG_EVENT_BYTES - 1);

		repeat_end_locked(slot, unix_us);
		*slot = (struct repeat){ .key = key, .since_us = now_us, .level = level };
		memcpy(slot->event, name.p, name.n);
		found = slot;
	}
	if (found->written < LOG_REPEATS) {
		found->written++;
		return true;
	}
	found->held_back++;
	return false;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
	struct clock *c;
	int64_t unix_us;

	REQUIRE((unsigned)level <= LOG_DEBUG);
	if ((int)level > atomic_load_explicit(&log_level_max, memory_order_relaxed))
		return;
	lock_take(&log_lock);
	c = log_clock ? log_clock : clock_system();
	unix_us = c->unix_us(c);
	if (repeat_count_locked(level, event, c->mono_us(c), unix_us))
		emit_locked(unix_us, level, event, fields);
	lock_drop(&log_lock);
}

void log_write_record(enum log_level level, const char *event, const struct log_field *fields)
{
	static _Atomic int is_text = -1;
	struct buf b = BUF_INIT(LOG_LINE_BYTES);
	int text = atomic_load_explicit(&is_text, memory_order_relaxed);
	int64_t now_us;

	REQUIRE((unsigned)level <= LOG_DEBUG);
	if ((int)level > atomic_load_explicit(&log_level_max, memory_order_relaxed))
		return;
	if (text < 0) {
		text = isatty(STDERR_FILENO) != 0;
		atomic_store_explicit(&is_text, text, memory_order_relaxed);
	}
	now_us = clock_mono_us(clock_system());
	lock_take(&log_lock);
	if (log_sink) {
		struct clock *c = log_clock ? log_clock : clock_system();

		emit_locked(c->unix_us(c), level, event, fields);
		lock_drop(&log_lock);
		return;
	}
	lock_drop(&log_lock);
	put_line(&b, text, clock_system()->unix_us(clock_system()), level, event, fields);
	buf_add_c(&b, '\n');
	lock_take(&log_lock);
	buf_add_str(&log_pending, buf_str(&b));
	if (now_us - log_second_us >= LOG_WINDOW_US) {
		log_second_us = now_us;
		log_second_records = 0;
	}
	if (++log_second_records <= LOG_AT_ONCE || log_pending.n >= LOG_PENDING_BYTES ||
	    now_us - log_written_us >= LOG_GATHER_US) {
		log_written_us = now_us;
		write_pending_locked();
	}
	lock_drop(&log_lock);
	buf_release(&b);
}

void log_flush(void)
{
	struct clock *c;
	int64_t unix_us;

	lock_take(&log_lock);
	c = log_clock ? log_clock : clock_system();
	unix_us = c->unix_us(c);
	for (unsigned i = 0; i < LOG_EVENTS; i++)
		repeat_end_locked(&repeats[i], unix_us);
	write_pending_locked();
	lock_drop(&log_lock);
}
