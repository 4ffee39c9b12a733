#ifndef BASE_HASH_H
#define BASE_HASH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Names of samples (SHA-256, SHA-1, MD5), checksums of stored bytes (CRC-32C)
 * and keys of tables in memory (hash64). Any thread, but a hasher is for one
 * at a time. Sources: FIPS 180-4, RFC 1321, RFC 3720 appendix B.4.
 */
enum {
	SHA256_BYTES = 32,
	SHA1_BYTES = 20,
	MD5_BYTES = 16
};

/* The three names of a sample. */
struct hashes {
	uint8_t sha256[SHA256_BYTES];
	uint8_t sha1[SHA1_BYTES];
	uint8_t md5[MD5_BYTES];
};

/* All three in one pass over a stream (libcrypto, SHA-NI where there is). */
struct hasher;
struct hasher *hasher_new(void);
void hasher_free(struct hasher *h);
void hasher_drop(struct hasher **h);
void hasher_reset(struct hasher *h);
void hasher_add(struct hasher *h, const void *p, size_t n);
void hasher_end(struct hasher *h, struct hashes *ret); /* then reset before reuse */

/* SHA-256 alone, for checksums of whole files. */
struct sha256;
struct sha256 *sha256_new(void);
void sha256_free(struct sha256 *h);
void sha256_drop(struct sha256 **h);
void sha256_add(struct sha256 *h, const void *p, size_t n);
void sha256_end(struct sha256 *h, uint8_t ret[SHA256_BYTES]); /* ready for the next after */

void sha256_of(const void *p, size_t n, uint8_t ret[SHA256_BYTES]);
/* HMAC-SHA256 (RFC 2104) with a key of key_n bytes. */
void hmac_sha256_of(const void *key, size_t key_n, const void *p, size_t n,
		    uint8_t ret[SHA256_BYTES]);
/* Are they the same? Takes as long whatever they are: for secrets. */
bool secret_equal(const void *a, const void *b, size_t n);
/* CRC-32C (Castagnoli), hardware where there is; start with crc = 0. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The same by tables, for machines without the instruction (and to test against). */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);
/* 64-bit non-cryptographic hash for tables (keyed by seed). */
uint64_t hash64(const void *p, size_t n, uint64_t seed);
#endif
