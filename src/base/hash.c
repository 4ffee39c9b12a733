#include "base/hash.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum {
	DIGEST_SHA256,
	DIGEST_SHA1,
	DIGEST_MD5,
	DIGEST_COUNT
};

/* Fetched once: a look-up by name costs more than hashing a small sample. */
static EVP_MD *digest_md[DIGEST_COUNT];
static pthread_once_t digest_once = PTHREAD_ONCE_INIT;

static void digest_fetch(void)
{
	static const char *const names[DIGEST_COUNT] = { "SHA256", "SHA1", "MD5" };

	for (int i = 0; i < DIGEST_COUNT; i++) {
		digest_md[i] = EVP_MD_fetch(NULL, names[i], NULL);
		REQUIRE(digest_md[i] != NULL);
	}
}

struct hasher {
	EVP_MD_CTX *ctx[DIGEST_COUNT];
	bool ended;
};

struct hasher *hasher_new(void)
{
	struct hasher *h = mem_must_zalloc(sizeof *h);

	for (int i = 0; i < DIGEST_COUNT; i++) {
		h->ctx[i] = EVP_MD_CTX_new();
		REQUIRE(h->ctx[i] != NULL);
	}
	hasher_reset(h);
	return h;
}

void hasher_free(struct hasher *h)
{
	if (!h)
		return;
	for (int i = 0; i < DIGEST_COUNT; i++)
		EVP_MD_CTX_free(h->ctx[i]);
	free(h);
}

void hasher_drop(struct hasher **h)
{
	hasher_free(*h);
	*h = NULL;
}

void hasher_reset(struct hasher *h)
{
	pthread_once(&digest_once, digest_fetch);
	for (int i = 0; i < DIGEST_COUNT; i++)
		REQUIRE(EVP_DigestInit_ex(h->ctx[i], digest_md[i], NULL) == 1);
	h->ended = false;
}

void hasher_add(struct hasher *h, const void *p, size_t n)
{
	/* Piece by piece, so that the second and third find the bytes in the cache. */
	enum {
		PIECE = 16 * 1024
	};
	const char *at = p;

	REQUIRE(!h->ended);
	while (n > 0) {
		size_t take = n < PIECE ? n : PIECE;

		for (int i = 0; i < DIGEST_COUNT; i++)
			REQUIRE(EVP_DigestUpdate(h->ctx[i], at, take) == 1);
		at += take;
		n -= take;
	}
}

void hasher_end(struct hasher *h, struct hashes *ret)
{
	REQUIRE(!h->ended);
	REQUIRE(EVP_DigestFinal_ex(h->ctx[DIGEST_SHA256], ret->sha256, NULL) == 1);
	REQUIRE(EVP_DigestFinal_ex(h->ctx[DIGEST_SHA1], ret->sha1, NULL) == 1);
	REQUIRE(EVP_DigestFinal_ex(h->ctx[DIGEST_MD5], ret->md5, NULL) == 1);
	h->ended = true;
}

struct sha256 {
	EVP_MD_CTX *ctx;
};

static void sha256_start(struct sha256 *h)
{
	pthread_once(&digest_once, digest_fetch);
	REQUIRE(EVP_DigestInit_ex(h->ctx, digest_md[DIGEST_SHA256], NULL) == 1);
}

struct sha256 *sha256_new(void)
{
	struct sha256 *h = mem_must_zalloc(sizeof *h);

	h->ctx = EVP_MD_CTX_new();
	REQUIRE(h->ctx != NULL);
	sha256_start(h);
	return h;
}

void sha256_free(struct sha256 *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void sha256_drop(struct sha256 **h)
{
	sha256_free(*h);
	*h = NULL;
}

void sha256_add(struct sha256 *h, const void *p, size_t n)
{
	REQUIRE(EVP_DigestUpdate(h->ctx, p, n) == 1);
}

void sha256_end(struct sha256 *h, uint8_t ret[SHA256_BYTES])
{
	REQUIRE(EVP_DigestFinal_ex(h->ctx, ret, NULL) == 1);
	sha256_start(h);
}

void sha256_of(const void *p, size_t n, uint8_t ret[SHA256_BYTES])
{
	pthread_once(&digest_once, digest_fetch);
	REQUIRE(EVP_Digest(p, n, ret, NULL, digest_md[DIGEST_SHA256], NULL) == 1);
}

void hmac_sha256_of(const void *key, size_t key_n, const void *p, size_t n,
		    uint8_t ret[SHA256_BYTES])
{
	unsigned written = 0;

	pthread_once(&digest_once, digest_fetch);
	REQUIRE(key_n <= INT_MAX);
	REQUIRE(HMAC(digest_md[DIGEST_SHA256], key, (int)key_n, p, n, ret, &written) != NULL);
	REQUIRE(written == SHA256_BYTES);
}

bool secret_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static uint64_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

/* Both halves of the 128-bit product, folded: every input bit reaches the result. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Fractional bits of the square roots of 2, 3 and 5, made odd. */
static const uint64_t hash_k[3] = { 0x6a09e667f3bcc909u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu };

uint64_t hash64(const void *p, size_t n, uint64_t seed)
{
	const uint8_t *at = p;
	size_t left = n;
	uint64_t h = fold(seed ^ hash_k[0], hash_k[1]);
	uint64_t a = 0;
	uint64_t b = 0;

	while (left > 16) {
		h = fold(load64(at) ^ hash_k[0] ^ h, load64(at + 8) ^ hash_k[1]);
		at += 16;
		left -= 16;
	}
	/* 0 to 16 bytes are left; the two loads may overlap. */
	if (left >= 8) {
		a = load64(at);
		b = load64(at + left - 8);
	} else if (left >= 4) {
		a = load32(at);
		b = load32(at + left - 4);
	} else if (left > 0) {
		a = (uint64_t)at[0] << 16 | (uint64_t)at[left / 2] << 8 | at[left - 1];
	}
	h = fold(a ^ hash_k[1] ^ h, b ^ hash_k[2]);
	return fold(h ^ n, hash_k[2]);
}
