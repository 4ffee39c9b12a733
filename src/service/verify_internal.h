#ifndef SERVICE_VERIFY_INTERNAL_H
#define SERVICE_VERIFY_INTERNAL_H
#include "service/verify.h"
#include "service_internal.h"

/* The segments of the index: every page, and every file's document. Findings go to the task. */
MUST_USE int verify_index(struct service *svc, struct sql_conn *conn, struct task *task,
			  struct err *err);
#endif
