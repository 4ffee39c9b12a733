#ifndef MAIN_INTERNAL_H
#define MAIN_INTERNAL_H
#include "options.h"
#include "session.h"

/* Exit statuses. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* or, of several things, some */
	STATUS_USAGE = 2   /* or nothing to do; of verify also: it could not look */
};

/* ---- Commands: each returns its exit status and says on standard error what went wrong ---- */
int serve_command(const struct options *o);
/* What only a server checks of its settings. ERR_INVALID. */
MUST_USE int serve_check_settings(const struct settings *settings, struct err *err);
int ingest_command(const struct options *o);
int hunt_command(const struct options *o);
int user_command(const struct options *o);
int audit_command(const struct options *o);
int rm_command(const struct options *o);
int verify_command(const struct options *o);
int reindex_command(const struct options *o);
int backup_command(const struct options *o);
int restore_command(const struct options *o);

/* "weir: TEXT" on standard error. */
void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Append text that came from outside so that a terminal only shows it. */
void show_text(struct buf *out, struct str s);
/* Append a field to a line of CSV (RFC 4180): quoted, quotes doubled. */
void csv_field(struct buf *out, struct str s);

/*
 * Tell the supervisor that NOTIFY_SOCKET names ("READY=1"; sd_notify(3)). Without
 * one, or if it does not listen, nothing happens.
 */
void notify_supervisor(const char *state);
/* "RELOADING=1" with its time. */
void notify_reloading(void);

/* As many open files as the system allows: descriptors wait in queues. */
void raise_file_limit(void);
#endif
