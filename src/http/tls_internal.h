#ifndef HTTP_TLS_INTERNAL_H
#define HTTP_TLS_INTERNAL_H
#include <gnutls/gnutls.h>
#include "http/tls.h"

/*
 * Credentials, counted: each connection holds those it began with, so that others
 * can be put in their place while it lives.
 */
struct http_tls;

/* As http_tls_check. *ret: one reference. */
MUST_USE int tls_open(struct http_tls **ret, const char *certificate, const char *key,
		      struct http_tls_facts *ret_facts, struct err *err);
struct http_tls *tls_ref(struct http_tls *t);
struct http_tls *tls_unref(struct http_tls *t); /* NULL is fine; returns NULL */
gnutls_certificate_credentials_t tls_credentials(const struct http_tls *t);

/* Versions, key exchanges and ciphers, in GnuTLS's language. */
extern const char TLS_PRIORITIES[];
#endif
