#include <fcntl.h>

#include "base/hash.h"
#include "service_internal.h"

enum {
	PURPOSE_BYTES_MAX = 32,
	KEY_BYTES_MAX = 64
};

/* ERR_NOT_FOUND; ERR_CORRUPT: cut by a crash, before anybody had anything made with it. */
static int key_get(struct service *svc, const char *name, void *ret, size_t n, struct err *err)
{
	struct io_file *f;
	int rc;

	TRY(svc->io->open(svc->io, name, O_RDONLY, &f, err));
	rc = io_pread(f, ret, n, 0, err);
	svc->io->close(svc->io, f);
	return rc;
}

static int key_make(struct service *svc, const char *name, const void *key, size_t n,
		    struct err *err)
{
	struct io_file *f;
	int rc;

	TRY(svc->io->open(svc->io, name, O_RDWR | O_CREAT, &f, err));
	rc = svc->io->pwrite(svc->io, f, key, n, 0, err);
	if (rc == 0)
		rc = svc->io->sync(svc->io, f, err);
	svc->io->close(svc->io, f);
	return rc ? rc : svc->io->sync_dir(svc->io, "", err);
}

int instance_key_read(struct service *svc, const char *name, void *ret, size_t n, struct err *err)
{
	uint8_t key[KEY_BYTES_MAX];
	int rc;

	REQUIRE(n <= sizeof key);
	rc = key_get(svc, name, key, n, err);
	if (rc == -ERR_CORRUPT) {
		TRY(svc->io->unlink(svc->io, name, err));
		rc = -ERR_NOT_FOUND;
	}
	if (rc == -ERR_NOT_FOUND) {
		rand_bytes(key, n);
		rc = key_make(svc, name, key, n, err);
	}
	if (rc == 0)
		memcpy(ret, key, n);
	return rc;
}

void service_sign(struct service *svc, const char *purpose, const void *p, size_t n,
		  uint8_t ret[SHA256_BYTES])
{
	size_t label = strlen(purpose);
	uint8_t key[SHA256_BYTES];

	REQUIRE(label <= PURPOSE_BYTES_MAX);
	/* A key for each purpose: what is signed for one says nothing for another. */
	hmac_sha256_of(svc->sign_key, sizeof svc->sign_key, purpose, label, key);
	hmac_sha256_of(key, sizeof key, p, n, ret);
}
