#include "row_kernel_internal.h"

/* Vectors stand at any address and over numbers of other types. */
#define VECTOR(bytes) __attribute__((vector_size(bytes), aligned(1), may_alias))

/* Bit `bit` of each of eight bytes, the first's lowest. */
static unsigned eight_bits(const uint8_t *p, unsigned bit)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return (unsigned)((v >> bit & 0x0101010101010101u) * 0x0102040810204080u >> 56);
}

typedef uint64_t vec_portable __attribute__((aligned(1), may_alias));

#define KERNEL_NAME "portable"
#define NAME(x) portable_##x
#define TARGET
#define VEC vec_portable
#define VEC_ANY(v) ((v) != 0)
#define VEC_OUTSIDE(v, low, high) ((v) < (low) || (v) > (high))
#define VEC_DIFFERS(a, b) ((a) != (b))
#define BYTES_EACH 8
#define BYTES_BITS(p, bit) eight_bits(p, bit)
#include "row_kernel_body.h"

#ifdef __x86_64__
#include <immintrin.h>

typedef uint64_t vec_avx2 VECTOR(32);
typedef uint64_t vec_avx512 VECTOR(64);

#define KERNEL_NAME "avx2"
#define NAME(x) avx2_##x
#define TARGET __attribute__((target("avx2,bmi")))
#define VEC vec_avx2
#define VEC_ANY(v) (!_mm256_testz_si256((__m256i)(v), (__m256i)(v)))
/* There is no comparison of unsigned numbers: the highest bit is flipped. */
#define SIGNED(v) ((__m256i)((v) ^ 1ull << 63))
#define SIGNS(v) (unsigned)_mm256_movemask_pd((__m256d)(v))
#define VEC_OUTSIDE(v, low, high)                                                                  \
	(SIGNS(_mm256_cmpgt_epi64(SIGNED(low), SIGNED(v))) |                                       \
	 SIGNS(_mm256_cmpgt_epi64(SIGNED(v), SIGNED(high))))
#define BYTES_EACH 32
#define BYTES_BITS(p, bit)                                                                         \
	(uint32_t) _mm256_movemask_epi8(_mm256_sll_epi16(_mm256_loadu_si256((const void *)(p)),    \
							 _mm_cvtsi32_si128(7 - (int)(bit))))
#define VEC_DIFFERS(a, b) (SIGNS(_mm256_cmpeq_epi64((__m256i)(a), (__m256i)(b))) ^ 0xf)
#include "row_kernel_body.h"

#define KERNEL_NAME "avx512"
#define NAME(x) avx512_##x
#define TARGET __attribute__((target("avx512f,bmi")))
#define VEC vec_avx512
#define VEC_ANY(v) (_mm512_test_epi64_mask((__m512i)(v), (__m512i)(v)) != 0)
#define VEC_OUTSIDE(v, low, high)                                                                  \
	(unsigned)(_mm512_cmplt_epu64_mask((__m512i)(v), (__m512i)(low)) |                         \
		   _mm512_cmpgt_epu64_mask((__m512i)(v), (__m512i)(high)))
#define BYTES_EACH 32
#define BYTES_BITS(p, bit)                                                                         \
	(uint32_t) _mm256_movemask_epi8(_mm256_sll_epi16(_mm256_loadu_si256((const void *)(p)),    \
							 _mm_cvtsi32_si128(7 - (int)(bit))))
#define VEC_DIFFERS(a, b) (unsigned)_mm512_cmpneq_epu64_mask((__m512i)(a), (__m512i)(b))
#include "row_kernel_body.h"
#endif

enum {
	KERNELS_MAX = 3
};

const struct row_kernel *row_kernel_at(unsigned i)
{
	const struct row_kernel *all[KERNELS_MAX + 1] = { &portable_kernel };
	unsigned n = 1;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
		all[n++] = &avx2_kernel;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi"))
		all[n++] = &avx512_kernel;
#endif
	return i < n ? all[i] : NULL;
}

const struct row_kernel *row_kernel(void)
{
	const struct row_kernel *best = NULL, *k;

	for (unsigned i = 0; (k = row_kernel_at(i)) != NULL; i++)
		best = k;
	return best;
}
