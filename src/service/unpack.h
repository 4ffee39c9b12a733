#ifndef SERVICE_UNPACK_H
#define SERVICE_UNPACK_H
#include "hunt.h"

/*
 * Containers: what is inside is stored and hunted as files of their own, each by an
 * analysis that the container's own analysis waits for.
 *
 *   scanned --unpack_or_complete--> (not a container) ---------------> completing
 *                 |
 *                 v
 *             unpacking: its own matches are told, then files found are stored, linked
 *                 |      and queued, many in one commit (upload_inside)
 *                 v
 *             completing --(any analysis it caused is open)--> waits (bundle_wait)
 *                                                                |  the last one completes
 *                                                                v  (bundle_settle)
 *                                                            completed
 *
 * Invariants
 *  1. What is found is one row of analysis for each (container's analysis, file): a crash
 *     at any point repeats the unpacking and finds those that are there.
 *  2. A match in a contained file is told on that file and on every container around it,
 *     up to the one that was sent, in the commit that completes the contained file's
 *     analysis. Files known before are hunted again for each container that brings them.
 *  3. A container's own matches are committed before anything inside can be hunted, so
 *     that a rule that matches both is told of the container itself.
 *  4. What nobody waits for opens no container while one by API waits: the first thread
 *     serves that lane alone.
 */
struct unpack_stage;

MUST_USE int unpack_start(struct service *svc, struct err *err);
void unpack_cancel(struct service *svc); /* what is under way is given up */
void unpack_stop(struct service *svc);   /* joins the threads */
void unpack_free(struct service *svc);   /* after the writer has stopped */
/* Containers that wait for a thread: claiming more would only make them wait in memory. */
size_t unpack_waiting(struct service *svc);
unsigned unpack_threads(const struct service_options *options);

/* The sample is scanned (or will not be): open it if it is a container, else complete. */
void unpack_or_complete(struct hunt_job *job);
#endif
