#ifndef API_API_H
#define API_API_H
#include "service/service.h"

/*
 * VirusTotal's API v3 over a service: every route of routes.def, served on one
 * address. What the wire looks like is docs/api.md's matter; /api/openapi.json
 * tells it to programs.
 */
struct api;

struct api_options {
	const char *address; /* numeric; "127.0.0.1" */
	uint16_t port;       /* 0: any free one */
	unsigned threads;    /* loop threads; 0: one per processor */
	unsigned connections_max;
	bool trust_forwarded; /* behind one's own proxy */
	int gzip_level;       /* of answers; 0: never */
	bool log_requests;
};

/*
 * Listens and serves at once, but /readyz says no until api_set_ready. The service
 * must outlive it.
 */
MUST_USE int api_open(struct api **ret, struct service *svc, const struct api_options *options,
		      struct err *err);
uint16_t api_port(const struct api *api);
/* All that whoever waits for /readyz counts on is done. Any thread. */
void api_set_ready(struct api *api);
/* New connections are refused from now on. Any thread. */
void api_stop_accepting(struct api *api);
/* Requests under way get grace_ms to finish. NULL is fine. */
void api_close(struct api *api, uint32_t grace_ms);
#endif
