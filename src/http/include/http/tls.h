#ifndef HTTP_TLS_H
#define HTTP_TLS_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/*
 * A certificate chain with its key, for http_server_options. TLS 1.2 and 1.3
 * alone, with forward secrecy and authenticated ciphers.
 */

/* What is worth telling whoever runs the server. */
struct http_tls_facts {
	char subject[256];   /* of the certificate, as text; cut */
	int64_t begins_s;    /* when it becomes valid */
	int64_t ends_s;      /* and stops being it */
	unsigned chain;      /* certificates in the file, its own included */
	bool key_is_exposed; /* the key's file is another's, or others may read it */
};

enum {
	HTTP_TLS_FILE_BYTES_MAX = 1024 * 1024, /* a chain of a hundred certificates */
};

/*
 * Can they be used? Reads both files (PEM; the certificate's with what leads to a
 * root behind it) and fills *ret. ERR_INVALID names file and reason: unreadable,
 * no PEM, an encrypted key, a key that is not the certificate's. That a
 * certificate has run out is no error here: see ends_s.
 */
MUST_USE int http_tls_check(const char *certificate, const char *key, struct http_tls_facts *ret,
			    struct err *err);
#endif
