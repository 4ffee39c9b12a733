#include "base/err.h"

#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void err_fill(struct err *err, enum err_kind kind, int sys, const char *fmt, va_list ap)
	PRINTF_LIKE(4, 0);

static void err_fill(struct err *err, enum err_kind kind, int sys, const char *fmt, va_list ap)
{
	if (!err)
		return;
	err->kind = kind;
	err->sys = sys;
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
}

int(err_set)(struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	REQUIRE(kind > ERR_NONE && kind < ERR_KIND_COUNT);
	va_start(ap, fmt);
	err_fill(err, kind, 0, fmt, ap);
	va_end(ap);
	return -(int)kind;
}

static enum err_kind err_kind_of_sys(int sys)
{
	switch (sys) {
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case ENOENT:
		return ERR_NOT_FOUND;
	case ENOMEM:
		return ERR_NO_MEMORY;
	case EEXIST:
		return ERR_EXISTS;
	default:
		return ERR_IO;
	}
}

int(err_sys)(struct err *err, int sys, const char *fmt, ...)
{
	enum err_kind kind = err_kind_of_sys(sys);
	va_list ap;

	va_start(ap, fmt);
	err_fill(err, kind, sys, fmt, ap);
	va_end(ap);
	if (err) {
		size_t n = strlen(err->msg);
		snprintf(err->msg + n, sizeof err->msg - n, ": %s", strerror(sys));
	}
	return -(int)kind;
}

int(err_add)(struct err *err, const char *fmt, ...)
{
	char text[sizeof err->msg];
	va_list ap;
	size_t n;
	size_t room;
	size_t take;

	if (!err)
		return -(int)ERR_IO;
	REQUIRE(err->kind != ERR_NONE);
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n = strlen(text);
	if (n + 2 < sizeof text) {
		memcpy(text + n, ": ", 2);
		n += 2;
		/* What does not fit is cut at the end: the cause, not the place. */
		room = sizeof text - 1 - n;
		take = strlen(err->msg) < room ? strlen(err->msg) : room;
		memcpy(text + n, err->msg, take);
		text[n + take] = '\0';
	}
	memcpy(err->msg, text, sizeof text);
	return -(int)err->kind;
}

const char *err_kind_name(enum err_kind kind)
{
	static const char *const names[ERR_KIND_COUNT] = {
		[ERR_NONE] = "NONE",
#define ERR_KIND(name, text) [ERR_##name] = #name,
#include "base/err.def"
#undef ERR_KIND
	};

	REQUIRE((unsigned)kind < ERR_KIND_COUNT);
	return names[kind];
}

const char *err_kind_text(enum err_kind kind)
{
	static const char *const texts[ERR_KIND_COUNT] = {
		[ERR_NONE] = "no error",
#define ERR_KIND(name, text) [ERR_##name] = (text),
#include "base/err.def"
#undef ERR_KIND
	};

	REQUIRE((unsigned)kind < ERR_KIND_COUNT);
	return texts[kind];
}

void require_failed(const char *cond, const char *file, int line, const char *func)
{
	void *frames[48];
	char text[512];
	int n = snprintf(text, sizeof text, "weir: %s:%d: %s: required: %s\n", file, line, func,
			 cond);

	if (n > 0) {
		size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
		ssize_t ignored = write(STDERR_FILENO, text, len);
		(void)ignored;
	}
	backtrace_symbols_fd(frames, backtrace(frames, 48), STDERR_FILENO);
	abort();
}
