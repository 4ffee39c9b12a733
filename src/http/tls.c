#include "http/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls_internal.h"

/*
 * Only what is left without known weakness, and what every client of the last ten
 * years speaks: ephemeral key exchange, AEAD ciphers. AES-128 first, the fastest
 * where the processor has it.
 */
const char TLS_PRIORITIES[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:"
			      "-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"
			      "-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305:+AES-256-GCM:"
			      "-MAC-ALL:+AEAD:%SERVER_PRECEDENCE";

struct http_tls {
	_Atomic unsigned refs;
	gnutls_certificate_credentials_t credentials;
};

/* ---- files ---- */

struct pem {
	const char *path;
	gnutls_datum_t data; /* owned; wiped when dropped */
	struct stat st;
};

static void pem_drop(struct pem *p)
{
	if (p->data.data)
		explicit_bzero(p->data.data, p->data.size);
	free(p->data.data);
}

static int pem_refuse(struct err *err, const char *what, const char *path, const char *why)
{
	return err_set(err, ERR_INVALID, "%s '%s': %s", what, path, why);
}

static int pem_read(struct pem *p, const char *what, struct err *err)
{
	int fd = open(p->path, O_RDONLY | O_CLOEXEC);
	size_t bytes;
	void *data;
	ssize_t n;
	int rc;

	if (fd < 0 || fstat(fd, &p->st) != 0) {
		rc = pem_refuse(err, what, p->path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	if (!S_ISREG(p->st.st_mode) || p->st.st_size > HTTP_TLS_FILE_BYTES_MAX) {
		close(fd);
		return pem_refuse(err, what, p->path, "not a file of up to 1 MB");
	}
	bytes = (size_t)p->st.st_size;
	data = mem_must_zalloc(bytes + 1);
	n = read(fd, data, bytes);
	p->data.data = data;
	p->data.size = n > 0 ? (unsigned)n : 0;
	close(fd);
	return n < 0 ? pem_refuse(err, what, p->path, strerror(errno)) : 0;
}

static bool pem_holds(const struct pem *p, const char *marker)
{
	return memmem(p->data.data, p->data.size, marker, strlen(marker)) != NULL;
}

/* ---- credentials ---- */

struct http_tls *tls_ref(struct http_tls *t)
{
	t->refs++;
	return t;
}

struct http_tls *tls_unref(struct http_tls *t)
{
	if (t && atomic_fetch_sub(&t->refs, 1) == 1) {
		gnutls_certificate_free_credentials(t->credentials);
		free(t);
	}
	return NULL;
}

static void tls_drop(struct http_tls **t)
{
	*t = tls_unref(*t);
}

gnutls_certificate_credentials_t tls_credentials(const struct http_tls *t)
{
	return t->credentials;
}

static const char *const WHAT_CERTIFICATE = "tls-certificate";
static const char *const WHAT_KEY = "tls-key";

/* What is wrong in words of whoever made the files; GnuTLS's where it has nothing better to say. */
static int pair_refuse(const struct pem *certificate, const struct pem *key, int rc,
		       struct err *err)
{
	if (!pem_holds(certificate, "-----BEGIN CERTIFICATE-----"))
		return pem_refuse(err, WHAT_CERTIFICATE, certificate->path,
				  "it holds no certificate in PEM form");
	if (pem_holds(key, "ENCRYPTED"))
		return pem_refuse(err, WHAT_KEY, key->path,
				  "the key is encrypted, it is needed without a passphrase");
	if (!pem_holds(key, "PRIVATE KEY-----"))
		return pem_refuse(err, WHAT_KEY, key->path, "it holds no private key in PEM form");
	if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return err_set(err, ERR_INVALID,
			       "tls-key '%s': it is not the key of the certificate '%s'", key->path,
			       certificate->path);
	return err_set(err, ERR_INVALID, "tls-certificate '%s' with tls-key '%s': %s",
		       certificate->path, key->path, gnutls_strerror(rc));
}

static int facts_fill(struct http_tls_facts *f, const struct http_tls *t, const struct pem *key,
		      const char *path, struct err *err)
{
	gnutls_x509_crt_t *chain = NULL;
	unsigned count = 0;
	size_t bytes = sizeof f->subject;
	int rc = gnutls_certificate_get_x509_crt(t->credentials, 0, &chain, &count);

	if (rc != 0 || count == 0)
		return pem_refuse(err, WHAT_CERTIFICATE, path, gnutls_strerror(rc));
	*f = (struct http_tls_facts){ .chain = count };
	if (gnutls_x509_crt_get_dn(chain[0], f->subject, &bytes) != 0)
		snprintf(f->subject, sizeof f->subject, "?");
	f->begins_s = gnutls_x509_crt_get_activation_time(chain[0]);
	f->ends_s = gnutls_x509_crt_get_expiration_time(chain[0]);
	f->key_is_exposed = key->st.st_uid != geteuid() || (key->st.st_mode & 077) != 0;
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(chain[i]);
	gnutls_free(chain);
	return 0;
}

int tls_open(struct http_tls **ret, const char *certificate, const char *key,
	     struct http_tls_facts *ret_facts, struct err *err)
{
	AUTO(tls_drop) struct http_tls *t = NULL;
	AUTO(pem_drop) struct pem cert_pem = { .path = certificate }, key_pem = { .path = key };
	int rc;

	TRY(pem_read(&cert_pem, WHAT_CERTIFICATE, err));
	TRY(pem_read(&key_pem, WHAT_KEY, err));
	t = mem_must_zalloc(sizeof *t);
	t->refs = 1;
	if (gnutls_certificate_allocate_credentials(&t->credentials) != 0)
		return err_set(err, ERR_NO_MEMORY, "no memory for TLS credentials");
	rc = gnutls_certificate_set_x509_key_mem(t->credentials, &cert_pem.data, &key_pem.data,
						 GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		return pair_refuse(&cert_pem, &key_pem, rc, err);
	TRY(facts_fill(ret_facts, t, &key_pem, certificate, err));
	*ret = STEAL(t);
	return 0;
}

int http_tls_check(const char *certificate, const char *key, struct http_tls_facts *ret,
		   struct err *err)
{
	AUTO(tls_drop) struct http_tls *t = NULL;

	return tls_open(&t, certificate, key, ret, err);
}
