#ifndef API_API_H
#define API_API_H
#include "http/tls.h"
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
	unsigned connections_per_address_max; /* 0: no limit */
	bool trust_forwarded;                 /* behind one's own proxy */
	int gzip_level;                       /* of answers; 0: never */
	const char *cors_origins;             /* "": none */
	const char *tls_certificate;          /* NULL: plain HTTP */
	const char *tls_key;
	bool log_requests;
};

/*
 * Listens and serves at once, but /readyz says no until api_set_ready. The service
 * must outlive it.
 */
MUST_USE int api_open(struct api **ret, struct service *svc, const struct api_options *options,
		      struct err *err);
uint16_t api_port(const struct api *api);
/* See http_server_tls_reload. */
MUST_USE int api_tls_reload(struct api *api, struct http_tls_facts *ret, struct err *err);
/* All that whoever waits for /readyz counts on is done. Any thread. */
void api_set_ready(struct api *api);
/* New connections are refused from now on. Any thread. */
void api_stop_accepting(struct api *api);
/* Requests under way get grace_ms to finish. NULL is fine. */
void api_close(struct api *api, uint32_t grace_ms);
#endif
