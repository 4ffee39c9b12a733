#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/metric.h"
#include "http_internal.h"

/*
 * TLS of the server's connections. libmicrohttpd makes the session and moves its
 * bytes; here each session gets the credentials of the day, which its connection
 * then holds, and tells when its handshake is over.
 *
 * Where a client speaks plain HTTP to this port the first byte shows it (a TLS
 * record of a handshake begins with 22): it is told so in plain HTTP.
 */

enum {
	TLS_HANDSHAKE_RECORD = 22
};

static struct http_conn *conn_of_session(gnutls_session_t session)
{
	const union MHD_ConnectionInfo *info;

	/* libmicrohttpd puts its connection there. */
	info = MHD_get_connection_info(gnutls_session_get_ptr(session),
				       MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

/* The client's last word of the handshake came. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
		       const gnutls_datum_t *msg)
{
	struct http_conn *c = conn_of_session(session);

	(void)type;
	(void)when;
	(void)msg;
	if (incoming && c &&
	    atomic_load_explicit(&c->phase, memory_order_relaxed) == CONN_HANDSHAKE)
		conn_phase_set(c, CONN_FRESH, clock_mono_us(clock_system()));
	return 0;
}

static ssize_t on_pull(gnutls_transport_ptr_t conn, void *to, size_t n)
{
	struct http_conn *c = conn;
	ssize_t got = recv(c->fd, to, n, 0);

	if (!c->first_seen && got > 0) {
		c->first_seen = true;
		if (*(const unsigned char *)to != TLS_HANDSHAKE_RECORD) {
			c->linger = true;
			metric_add(METRIC_http_malformed_total, 1);
			refuse_socket(c->server, c->fd, c->remote, 400,
				      "This port speaks HTTPS: the URL must begin with https://");
			errno = ECONNABORTED;
			return -1;
		}
	}
	return got;
}

/* GnuTLS asks for it where it would wait, and it never does: the socket does not block. */
static int on_pull_wait(gnutls_transport_ptr_t conn, unsigned ms)
{
	struct http_conn *c = conn;
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	(void)ms;
	return poll(&p, 1, 0);
}

void secure_start(struct http_conn *c, struct MHD_Connection *mhd)
{
	struct http_server *s = c->server;
	const union MHD_ConnectionInfo *info;

	if (!s->o.tls_certificate)
		return;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	REQUIRE(info && info->tls_session);
	c->session = info->tls_session;
	lock_take(&s->lk);
	c->tls = tls_ref(s->tls);
	lock_drop(&s->lk);
	gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, tls_credentials(c->tls));
	gnutls_session_ticket_enable_server(c->session, &s->ticket_key);
	gnutls_handshake_set_hook_function(c->session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST,
					   on_finished);
	gnutls_transport_set_ptr2(c->session, c, gnutls_transport_get_ptr(c->session));
	gnutls_transport_set_pull_function(c->session, on_pull);
	gnutls_transport_set_pull_timeout_function(c->session, on_pull_wait);
}

int secure_no_credentials(gnutls_session_t session, const gnutls_datum_t *issuers, int issuer_count,
			  const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
			  gnutls_pcert_st **chain, unsigned *chain_count, gnutls_privkey_t *key)
{
	(void)session;
	(void)issuers;
	(void)issuer_count;
	(void)algorithms;
	(void)algorithm_count;
	(void)chain;
	(void)chain_count;
	(void)key;
	return -1;
}

bool conn_send(struct http_conn *c, const void *p, size_t n)
{
	const char *at = p;

	if (!c->session)
		return send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n;
	while (n > 0) {
		ssize_t sent = gnutls_record_send(c->session, at, n);

		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
	}
	return true;
}

int secure_open(struct http_server *s, struct err *err)
{
	struct http_tls_facts facts;

	if (!s->o.tls_certificate)
		return 0;
	TRY(tls_open(&s->tls, s->o.tls_certificate, s->o.tls_key, &facts, err));
	if (gnutls_session_ticket_key_generate(&s->ticket_key) != 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for a TLS ticket key");
	metric_set(METRIC_tls_certificate_ends_s, facts.ends_s);
	return 0;
}

void secure_close(struct http_server *s)
{
	s->tls = tls_unref(s->tls);
	if (s->ticket_key.data)
		gnutls_free(s->ticket_key.data);
}

int http_server_tls_reload(struct http_server *s, struct http_tls_facts *ret, struct err *err)
{
	struct http_tls *now, *old;

	REQUIRE(s->o.tls_certificate != NULL);
	TRY(tls_open(&now, s->o.tls_certificate, s->o.tls_key, ret, err));
	lock_take(&s->lk);
	old = s->tls;
	s->tls = now;
	lock_drop(&s->lk);
	tls_unref(old);
	metric_set(METRIC_tls_certificate_ends_s, ret->ends_s);
	return 0;
}
