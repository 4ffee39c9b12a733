#include "base/hash.h"

#include <pthread.h>
#include <string.h>

/* CRC-32C (RFC 3720, appendix B.4), reflected. */
static const uint32_t crc_polynomial = 0x82f63b78u;

/* crc_table[k][b]: what byte b does to the sum when k more bytes follow it. */
static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_make_table(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t c = b;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ crc_polynomial : c >> 1;
		crc_table[0][b] = c;
	}
	for (int k = 1; k < 8; k++) {
		for (uint32_t b = 0; b < 256; b++) {
			uint32_t c = crc_table[k - 1][b];

			crc_table[k][b] = c >> 8 ^ crc_table[0][c & 255];
		}
	}
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
	const uint8_t *at = p;
	uint32_t c = ~crc;

	pthread_once(&crc_once, crc_make_table);
	while (n >= 8) {
		c ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
		     (uint32_t)at[3] << 24;
		c = crc_table[7][c & 255] ^ crc_table[6][c >> 8 & 255] ^
		    crc_table[5][c >> 16 & 255] ^ crc_table[4][c >> 24] ^ crc_table[3][at[4]] ^
		    crc_table[2][at[5]] ^ crc_table[1][at[6]] ^ crc_table[0][at[7]];
		at += 8;
		n -= 8;
	}
	for (; n > 0; n--)
		c = c >> 8 ^ crc_table[0][(c ^ *at++) & 255];
	return ~c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *p,
							       size_t n)
{
	const uint8_t *at = p;
	uint64_t c = ~crc;

	while (n >= 8) {
		uint64_t word;

		memcpy(&word, at, sizeof word);
		c = __builtin_ia32_crc32di(c, word);
		at += 8;
		n -= 8;
	}
	for (; n > 0; n--)
		c = __builtin_ia32_crc32qi((uint32_t)c, *at++);
	return ~(uint32_t)c;
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, p, n);
	return crc32c_portable(crc, p, n);
}
#else
uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	return crc32c_portable(crc, p, n);
}
#endif
