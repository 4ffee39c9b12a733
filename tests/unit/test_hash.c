#include "unit.h"

#include "base/hash.h"
#include "base/hex.h"
#include "base/rand.h"

static void test_digests(void **state)
{
	/* FIPS 180-4's and RFC 1321's examples. */
	static const struct {
		const char *name;
		const char *text;
		unsigned times;
		const char *sha256;
		const char *sha1;
		const char *md5;
	} rows[] = {
		{ "empty", "", 1,
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  "da39a3ee5e6b4b0d3255bfef95601890afd80709", "d41d8cd98f00b204e9800998ecf8427e" },
		{ "abc", "abc", 1,
		  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		  "a9993e364706816aba3e25717850c26c9cd0d89d", "900150983cd24fb0d6963f7d28e17f72" },
		{ "a million times a", "aaaaaaaaaa", 100000,
		  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
		  "34aa973cd4c4daa4f61eeb2bdbad27316534016f", "7707d6ae4e027c70eea2a935c2296f21" },
	};
	struct hasher *h = hasher_new();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hashes got;
		char hex[65];

		hasher_reset(h);
		for (unsigned k = 0; k < rows[i].times; k++)
			hasher_add(h, rows[i].text, strlen(rows[i].text));
		hasher_end(h, &got);
		hex_encode(got.sha256, SHA256_BYTES, hex);
		CHECK_ROW_STR(rows[i].name, str_of(hex), str_of(rows[i].sha256));
		hex_encode(got.sha1, SHA1_BYTES, hex);
		CHECK_ROW_STR(rows[i].name, str_of(hex), str_of(rows[i].sha1));
		hex_encode(got.md5, MD5_BYTES, hex);
		CHECK_ROW_STR(rows[i].name, str_of(hex), str_of(rows[i].md5));
	}
	hasher_drop(&h);
	assert_null(h);
	hasher_free(NULL);
}

/* However a stream is cut, its digests are those of the whole. */
static void test_pieces(void **state)
{
	static uint8_t data[100000];
	struct rand_seq r = { 21 };
	struct hasher *h = hasher_new();
	struct hashes whole;
	uint8_t one[SHA256_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)rand_next(&r);
	hasher_add(h, data, sizeof data);
	hasher_end(h, &whole);
	sha256_of(data, sizeof data, one);
	assert_memory_equal(one, whole.sha256, SHA256_BYTES);
	for (int round = 0; round < 20; round++) {
		struct hashes got;
		size_t at = 0;

		hasher_reset(h);
		while (at < sizeof data) {
			size_t n = rand_below(&r, 40000);

			if (n > sizeof data - at)
				n = sizeof data - at;
			hasher_add(h, data + at, n);
			at += n;
		}
		hasher_end(h, &got);
		assert_memory_equal(&got, &whole, sizeof got);
	}
	hasher_free(h);
}

static void add_after_end(void *arg)
{
	struct hasher *h = hasher_new();
	struct hashes got;

	hasher_end(h, &got);
	hasher_add(h, arg, 1);
}

static void test_after_end(void **state)
{
	char c = 'x';

	(void)state;
	assert_true(test_aborts(add_after_end, &c, "required: !h->ended"));
}

/* RFC 4231, cases 1, 2 and 6. */
static void test_hmac(void **state)
{
	static const struct {
		const char *key_byte; /* repeated */
		size_t key_n;
		const char *key, *text, *want;
	} rows[] = {
		{ "\x0b", 20, NULL, "Hi There",
		  "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
		{ NULL, 4, "Jefe", "what do ya want for nothing?",
		  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
		{ "\xaa", 131, NULL, "Test Using Larger Than Block-Size Key - Hash Key First",
		  "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
	};
	uint8_t got[SHA256_BYTES], want[SHA256_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char key[131];

		memset(key, rows[i].key_byte ? rows[i].key_byte[0] : 0, sizeof key);
		if (rows[i].key)
			memcpy(key, rows[i].key, rows[i].key_n);
		assert_true(hex_decode(str_of(rows[i].want), want, sizeof want));
		hmac_sha256_of(key, rows[i].key_n, rows[i].text, strlen(rows[i].text), got);
		assert_true(secret_equal(got, want, sizeof got));
		got[SHA256_BYTES - 1] ^= 1;
		assert_false(secret_equal(got, want, sizeof got));
	}
}

static void test_crc(void **state)
{
	static const uint8_t zeros[32] = { 0 };
	uint8_t ones[32];
	uint8_t up[32];
	uint8_t down[32];
	/* RFC 3720, appendix B.4; "123456789" is the catalogue's check value. */
	const struct {
		const char *name;
		const void *p;
		size_t n;
		uint32_t want;
	} rows[] = {
		{ "nothing", "", 0, 0 },
		{ "check", "123456789", 9, 0xe3069283 },
		{ "zeros", zeros, 32, 0x8a9136aa },
		{ "ones", ones, 32, 0x62a8ab43 },
		{ "rising", up, 32, 0x46dd794e },
		{ "falling", down, 32, 0x113fdb5c },
	};

	(void)state;
	memset(ones, 0xff, sizeof ones);
	for (unsigned i = 0; i < 32; i++) {
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CHECK_ROW(rows[i].name, crc32c(0, rows[i].p, rows[i].n) == rows[i].want);
		CHECK_ROW(rows[i].name, crc32c_portable(0, rows[i].p, rows[i].n) == rows[i].want);
	}
}

/* The instruction and the tables agree on every length, start and cut. */
static void test_crc_both(void **state)
{
	static uint8_t data[4096 + 16];
	struct rand_seq r = { 22 };

	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)rand_next(&r);
	for (size_t n = 0; n < 300; n++) {
		for (size_t start = 0; start < 9; start++) {
			uint32_t seed = (uint32_t)rand_next(&r);

			assert_int_equal(crc32c(seed, data + start, n),
					 crc32c_portable(seed, data + start, n));
		}
	}
	for (int i = 0; i < 500; i++) {
		size_t cut = rand_below(&r, 4097);
		uint32_t whole = crc32c(0, data, 4096);

		assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, 4096 - cut), whole);
		assert_int_equal(crc32c_portable(crc32c(0, data, cut), data + cut, 4096 - cut),
				 whole);
	}
}

/*
 * Tables need: every input bit and the seed reach about half the output bits,
 * lengths differ, and no two of many keys agree.
 */
static void test_hash64_avalanche(void **state)
{
	struct rand_seq r = { 23 };

	(void)state;
	for (size_t n = 1; n <= 70; n++) {
		uint64_t flips = 0;
		uint64_t asked = 0;

		for (int round = 0; round < 8; round++) {
			uint8_t key[70];
			uint64_t seed = rand_next(&r);
			uint64_t h;

			for (size_t i = 0; i < n; i++)
				key[i] = (uint8_t)rand_next(&r);
			h = hash64(key, n, seed);
			assert_true(h == hash64(key, n, seed));
			for (size_t bit = 0; bit < n * 8; bit++) {
				int changed;

				key[bit / 8] ^= (uint8_t)(1u << bit % 8);
				changed = __builtin_popcountll(h ^ hash64(key, n, seed));
				key[bit / 8] ^= (uint8_t)(1u << bit % 8);
				assert_in_range(changed, 5, 59);
				flips += (uint64_t)changed;
				asked++;
			}
			assert_in_range(__builtin_popcountll(h ^ hash64(key, n, seed ^ 1)), 5, 59);
		}
		assert_in_range(flips / asked, 30, 33);
	}
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void test_hash64_collisions(void **state)
{
	enum {
		KEYS = 200000
	};
	uint64_t *all = calloc(KEYS, sizeof *all);
	static const char zeros[64] = { 0 };

	(void)state;
	assert_non_null(all);
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[32];
		int n = snprintf(key, sizeof key, "ruleset-%u", i);

		all[i] = hash64(key, (size_t)n, 42);
	}
	qsort(all, KEYS, sizeof *all, cmp_u64);
	for (size_t i = 1; i < KEYS; i++)
		assert_true(all[i] != all[i - 1]);
	free(all);
	for (size_t n = 1; n < sizeof zeros; n++)
		assert_true(hash64(zeros, n, 0) != hash64(zeros, n - 1, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_after_end),
		cmocka_unit_test(test_crc),
		cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_crc_both),
		cmocka_unit_test(test_hash64_avalanche),
		cmocka_unit_test(test_hash64_collisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
