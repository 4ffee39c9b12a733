#ifndef SERVICE_OPENING_H
#define SERVICE_OPENING_H
#include <stdatomic.h>
#include "hunt.h"
#include "scan/container.h"

/*
 * One container opened: its own matches are told, a child tells what is inside, and each
 * file goes through the intake. What could not be had is noted in job->opened.
 *
 * Blocks; on a thread of unpack.c. 0: what is inside is stored and queued, as far as it
 * could be had. ERR_CLOSED: stopping, or the sample was removed. ERR_BUSY: the writer has
 * no room, try again (what was stored is found again). Others: nothing (more) could be
 * stored, with the reason.
 */
MUST_USE int opening_run(struct hunt_job *job, const _Atomic bool *stopping, struct err *err);

/*
 * Does the password open the ZIP there? ERR_FORBIDDEN: no. 0 also for what is no protected
 * ZIP, or could not be tried. Blocks.
 */
MUST_USE int password_check(struct service *svc, const struct pack_locator *at, struct str password,
			    struct err *err);

/* Note why a container was not opened, or not whole. */
void opening_refuse(struct hunt_job *job, const char *fmt, ...) PRINTF_LIKE(2, 3);
#endif
