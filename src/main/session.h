#ifndef MAIN_SESSION_H
#define MAIN_SESSION_H
#include "control.h"
#include "main/settings.h"

/*
 * A command's way to the data folder: through the server that holds it, or, if
 * nobody does, through the service opened in this process. Either is spoken to
 * with the same frames (control.h).
 *
 * Threads: one at a time; each link by itself may be used by one.
 */
struct session;

/* What is done beside what was asked for, where no server runs. */
enum session_work {
	SESSION_STORES,
	SESSION_INDEXES,
	SESSION_HUNTS /* and indexes */
};

struct service_options session_service_options(const struct settings *settings);

/*
 * `hunt`: without a server, hunt here too. Errors: those of service_open;
 * ERR_BUSY if somebody holds the folder who does not answer.
 */
MUST_USE int session_open(struct session **ret, const struct settings *settings,
			  enum session_work work, struct err *err);
/* The same for what makes no sense with a new folder: ERR_NOT_FOUND if there is none. */
MUST_USE int session_open_existing(struct session **ret, const struct settings *settings,
				   enum session_work work, struct err *err);
void session_close(struct session *s); /* NULL is fine */
/* Is it a server's? */
bool session_is_remote(const struct session *s);

enum {
	SESSION_LINKS_MAX = 5
};
/* A further connection, of at most SESSION_LINKS_MAX; closed with the session. */
MUST_USE int session_link(struct session *s, struct frame_in **ret, struct err *err);

/*
 * Send one request over a link that waits for no other answer, and wait for its
 * end. `item` gets every CONTROL_ITEM; *ret is the CONTROL_OK, valid until the
 * link is used again. Errors: the server's own; ERR_CLOSED if it goes away.
 */
MUST_USE int session_call(struct frame_in *link, struct str request,
			  void (*item)(struct frame *f, void *arg), void *arg, struct frame *ret,
			  struct err *err);
/* The same with a descriptor that travels with the request; it stays the caller's. */
MUST_USE int session_call_fd(struct frame_in *link, struct str request, int fd,
			     void (*item)(struct frame *f, void *arg), void *arg, struct frame *ret,
			     struct err *err);
/* The error that a CONTROL_ERROR stands for; returns -kind. */
int session_error(struct frame *f, struct err *err);
#endif
