#ifndef MAIN_ASKING_H
#define MAIN_ASKING_H
#include "main_internal.h"

/*
 * How a command asks the owner of the data folder: open, any number of questions
 * one after the other, close. A question is begun, its fields are added to
 * `request`, and asked.
 */
struct asking {
	struct session *session;
	struct frame_in *link;
	struct buf request;
	size_t begun_at;
	struct frame answer;
};

MUST_USE int ask_open(struct asking *a, const struct options *o, struct err *err);
void ask_close(struct asking *a);
void ask_begin(struct asking *a, enum control_kind kind);
/* `item` (may be NULL where none come) gets every CONTROL_ITEM. Errors: the owner's own. */
MUST_USE int ask_end(struct asking *a, void (*item)(struct frame *f, void *arg), void *arg,
		     struct err *err);
/* Begin, add the texts, ask. */
MUST_USE int ask(struct asking *a, enum control_kind kind, const char *const *texts, size_t n,
		 void (*item)(struct frame *f, void *arg), void *arg, struct err *err);
/* Say what went wrong; STATUS_FAILED. */
int ask_failed(const struct err *err);
#endif
