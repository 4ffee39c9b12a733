#include "gram_set_internal.h"

#include <pthread.h>
#include <string.h>

#include "index/gram.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* How a column of a class is laid out. */
struct layout {
	uint32_t mask;        /* of a hash: its row within a third, or in all */
	uint32_t third_words; /* from a third to the next; 0: there are none */
};

static struct layout layout_of(unsigned class)
{
	unsigned low = gram_low_bits(class);

	return (struct layout){ (1u << low) - 1, class % 2 ? 1u << low >> 5 : 0 };
}

/* gram_row's word. From these values on a hash is in the second third, and in the last. */
#define SECOND_THIRD 0x55555556u
#define LAST_THIRD 0xaaaaaaabu

static inline uint32_t word_of(const struct layout *to, uint32_t hash)
{
	uint32_t third = (uint32_t)(hash >= SECOND_THIRD) + (hash >= LAST_THIRD);

	return third * to->third_words + ((hash & to->mask) >> 5);
}

static inline void set_hash(uint32_t *bits, const struct layout *to, uint32_t hash)
{
	bits[word_of(to, hash)] |= 1u << (hash & 31);
}

static inline void set_wide4(uint32_t *bits, const struct layout *to, const uint8_t *p)
{
	uint32_t hash;

	if (gram_wide4(p, &hash))
		set_hash(bits, to, hash);
}

static void gram_set_portable(uint32_t *bits, unsigned class, const uint8_t *p, size_t n)
{
	struct layout to = layout_of(class);
	uint32_t gram = 0;
	uint32_t before = 0;
	uint32_t zeros = 0; /* bit k: the byte k before this one is zero */
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		gram = gram >> 8 | (uint32_t)gram_fold(p[i]) << 24;
		zeros = zeros << 1 | (p[i] == 0);
		if (i + 1 < GRAM_FOLD4_BYTES)
			continue;
		/* In a run of one byte each gram, and with it each wide one, is the last again. */
		if (any && gram == before && (zeros == 0 || zeros == UINT32_MAX))
			continue;
		set_hash(bits, &to, gram_hash(gram, GRAM_SEED_FOLD4));
		before = gram;
		any = true;
		if ((zeros & 0x55) == 0x55 && i + 1 >= GRAM_WIDE4_BYTES)
			set_wide4(bits, &to, p + i + 1 - GRAM_WIDE4_BYTES);
	}
}

#if defined(__x86_64__)
enum {
	BLOCK_BYTES = 64,
	/* What a block's grams reach: a wide one that begins at its last byte. */
	BLOCK_REACH = BLOCK_BYTES + GRAM_WIDE4_BYTES - 1
};

static inline void set_wides(uint32_t *bits, const struct layout *to, const uint8_t *p,
			     uint64_t wides)
{
	for (; wides != 0; wides &= wides - 1)
		set_wide4(bits, to, p + __builtin_ctzll(wides));
}

/*
 * Are all grams that begin in this block the same? Then one of each view is enough.
 * The block is known to be 65 times one byte.
 */
static inline bool set_same(uint32_t *bits, const struct layout *to, const uint8_t *p)
{
	for (size_t i = BLOCK_BYTES + 1; i < BLOCK_REACH; i++) {
		if (p[i] != p[0])
			return false;
	}
	set_hash(bits, to, gram_fold4(p));
	set_wide4(bits, to, p);
	return true;
}

/* The grams of a block by their word in the column and their bit in it. */
struct places {
	uint32_t word[BLOCK_BYTES] __attribute__((aligned(64)));
	uint32_t bit[BLOCK_BYTES] __attribute__((aligned(64)));
};

static inline void set_places(uint32_t *bits, const struct places *at)
{
#pragma GCC unroll 8
	for (int i = 0; i < BLOCK_BYTES; i++)
		bits[at->word[i]] |= at->bit[i];
}

__attribute__((target("avx512f,avx512bw,avx512vl"))) static inline __m512i fold_512(__m512i v)
{
	__m512i from_a = _mm512_sub_epi8(v, _mm512_set1_epi8('A'));
	__mmask64 upper = _mm512_cmplt_epu8_mask(from_a, _mm512_set1_epi8(26));

	return _mm512_mask_add_epi8(v, upper, v, _mm512_set1_epi8('a' - 'A'));
}

__attribute__((target("avx512f,avx512bw,avx512vl"))) static inline void
places_512(struct places *at, int i, __m512i m, const struct layout *to)
{
	const __m512i third = _mm512_set1_epi32((int)to->third_words);
	__m512i h = _mm512_mullo_epi32(m, _mm512_set1_epi32((int)GRAM_MIX_LAST));
	__m512i word;

	h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 16));
	_mm512_store_si512(at->bit + i, _mm512_rolv_epi32(_mm512_set1_epi32(1), h));
	word = _mm512_srli_epi32(_mm512_and_si512(h, _mm512_set1_epi32((int)to->mask)), 5);
	word = _mm512_mask_add_epi32(
		word, _mm512_cmpge_epu32_mask(h, _mm512_set1_epi32((int)SECOND_THIRD)), word,
		third);
	word = _mm512_mask_add_epi32(
		word, _mm512_cmpge_epu32_mask(h, _mm512_set1_epi32((int)LAST_THIRD)), word, third);
	_mm512_store_si512(at->word + i, word);
}

/*
 * Sixty-four grams begin in a block: those at the bytes 0, 4, 8, … are its words, those
 * at 1, 5, 9, … the words of the block one byte further, and so on.
 */
__attribute__((target("avx512f,avx512bw,avx512vl"))) static void
gram_set_avx512(uint32_t *bits, unsigned class, const uint8_t *p, size_t n)
{
	const struct layout to = layout_of(class);
	struct places at;

	while (n >= BLOCK_REACH) {
		uint64_t wides = ~0ull;
		__m512i v[4];

		for (int i = 0; i < 4; i++) {
			__m512i odd = _mm512_loadu_si512(p + 2 * i + 1);

			v[i] = _mm512_loadu_si512(p + i);
			wides &= _mm512_testn_epi8_mask(odd, odd);
		}
		if (_mm512_cmpneq_epi8_mask(v[0], v[1]) != 0 || !set_same(bits, &to, p)) {
			for (int i = 0; i < 4; i++) {
				__m512i m = _mm512_mullo_epi32(fold_512(v[i]),
							       _mm512_set1_epi32((int)GRAM_MIX));

				m = _mm512_xor_si512(m, _mm512_srli_epi32(m, 15));
				places_512(&at, 16 * i, m, &to);
			}
			set_places(bits, &at);
			set_wides(bits, &to, p, wides);
		}
		p += BLOCK_BYTES;
		n -= BLOCK_BYTES;
	}
	gram_set_portable(bits, class, p, n);
}

__attribute__((target("avx2"))) static inline __m256i fold_256(__m256i v)
{
	__m256i from_a = _mm256_sub_epi8(v, _mm256_set1_epi8('A'));
	__m256i upper = _mm256_cmpeq_epi8(_mm256_min_epu8(from_a, _mm256_set1_epi8(25)), from_a);

	return _mm256_add_epi8(v, _mm256_and_si256(upper, _mm256_set1_epi8('a' - 'A')));
}

__attribute__((target("avx2"))) static inline void store_256(void *p, __m256i v)
{
	_mm256_store_si256(p, v);
}

/* `words` where the hash is `from` or more. */
__attribute__((target("avx2"))) static inline __m256i third_256(__m256i h, uint32_t from,
								uint32_t words)
{
	__m256i in = _mm256_cmpeq_epi32(_mm256_max_epu32(h, _mm256_set1_epi32((int)from)), h);

	return _mm256_and_si256(in, _mm256_set1_epi32((int)words));
}

__attribute__((target("avx2"))) static inline void places_256(struct places *at, int i, __m256i m,
							      const struct layout *to)
{
	__m256i h = _mm256_mullo_epi32(m, _mm256_set1_epi32((int)GRAM_MIX_LAST));
	__m256i bit;
	__m256i word;

	h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 16));
	bit = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_and_si256(h, _mm256_set1_epi32(31)));
	store_256(at->bit + i, bit);
	word = _mm256_srli_epi32(_mm256_and_si256(h, _mm256_set1_epi32((int)to->mask)), 5);
	word = _mm256_add_epi32(word, third_256(h, SECOND_THIRD, to->third_words));
	word = _mm256_add_epi32(word, third_256(h, LAST_THIRD, to->third_words));
	store_256(at->word + i, word);
}

__attribute__((target("avx2"))) static inline __m256i load_256(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i_u *)p);
}

/* As above, in halves. */
__attribute__((target("avx2"))) static void gram_set_avx2(uint32_t *bits, unsigned class,
							  const uint8_t *p, size_t n)
{
	const struct layout to = layout_of(class);
	const __m256i zero = _mm256_setzero_si256();
	struct places at;

	while (n >= BLOCK_REACH) {
		uint64_t wides = 0;
		uint32_t same = UINT32_MAX;

		for (int half = 0; half < 2; half++) {
			const uint8_t *q = p + 32 * half;
			__m256i odd =
				_mm256_or_si256(_mm256_or_si256(load_256(q + 1), load_256(q + 3)),
						_mm256_or_si256(load_256(q + 5), load_256(q + 7)));

			wides |= (uint64_t)(uint32_t)_mm256_movemask_epi8(
					 _mm256_cmpeq_epi8(odd, zero))
				 << 32 * half;
			same &= (uint32_t)_mm256_movemask_epi8(
				_mm256_cmpeq_epi8(load_256(q), load_256(q + 1)));
		}
		if (same != UINT32_MAX || !set_same(bits, &to, p)) {
			for (int i = 0; i < 8; i++) {
				__m256i v = fold_256(load_256(p + i / 2 + 32 * (i % 2)));
				__m256i m = _mm256_mullo_epi32(v, _mm256_set1_epi32((int)GRAM_MIX));

				m = _mm256_xor_si256(m, _mm256_srli_epi32(m, 15));
				places_256(&at, 8 * i, m, &to);
			}
			set_places(bits, &at);
			set_wides(bits, &to, p, wides);
		}
		p += BLOCK_BYTES;
		n -= BLOCK_BYTES;
	}
	gram_set_portable(bits, class, p, n);
}
#endif

static struct gram_set_kernel kernels[4];
static pthread_once_t kernels_once = PTHREAD_ONCE_INIT;

static void kernels_choose(void)
{
	struct gram_set_kernel *k = kernels;

#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vl"))
		*k++ = (struct gram_set_kernel){ "avx512", gram_set_avx512 };
	if (__builtin_cpu_supports("avx2"))
		*k++ = (struct gram_set_kernel){ "avx2", gram_set_avx2 };
#endif
	*k = (struct gram_set_kernel){ "portable", gram_set_portable };
}

const struct gram_set_kernel *gram_set_kernels(void)
{
	pthread_once(&kernels_once, kernels_choose);
	return kernels;
}

void gram_set(uint32_t *bits, unsigned class, const uint8_t *p, size_t n)
{
	gram_set_kernels()[0].set(bits, class, p, n);
}
