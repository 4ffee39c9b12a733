/*
 * The bodies of one struct row_kernel, included once for each instruction set with
 *   NAME(x)      the function's name
 *   TARGET       the attribute that allows the instructions
 *   VEC          a vector of 64-bit numbers, for any address
 *   VEC_ANY(v)   has it a bit?
 *   VEC_OUTSIDE(v, low, high), VEC_DIFFERS(a, b)
 *                a bit for each number of v that is below low or above high; of a that
 *                is not the one of b; the first's lowest
 *   BYTES_EACH, BYTES_BITS(p, bit)
 *                so many bytes at once, up to 64; that bit of each
 */

enum {
	NAME(VECS) = ROW_LINE / sizeof(VEC)
};

TARGET static uint64_t NAME(and_rows)(uint8_t *set, const uint8_t *const rows[ROW_AT_ONCE],
				      uint64_t lines, bool *cut)
{
	const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
	uint64_t left = 0;
	VEC gone = { 0 };

	for (uint64_t todo = lines; todo; todo &= todo - 1) {
		unsigned line = (unsigned)__builtin_ctzll(todo);
		size_t at = (size_t)line * ROW_LINE;
		VEC any = { 0 };

		for (unsigned i = 0; i < NAME(VECS); i++, at += sizeof(VEC)) {
			VEC *to = (VEC *)(set + at);
			VEC old = *to;
			VEC new = old &*(const VEC *)(r0 + at) & *(const VEC *)(r1 + at) &
				  *(const VEC *)(r2 + at) & *(const VEC *)(r3 + at);

			*to = new;
			any |= new;
			gone |= old ^ new;
		}
		left |= (uint64_t)VEC_ANY(any) << line;
	}
	*cut |= VEC_ANY(gone);
	return left;
}

TARGET static uint64_t NAME(lines)(const uint8_t *set, unsigned count)
{
	uint64_t lines = 0;

	for (unsigned line = 0; line < count; line++) {
		VEC any = { 0 };

		for (unsigned i = 0; i < NAME(VECS); i++)
			any |= *(const VEC *)(set + (size_t)line * ROW_LINE + i * sizeof(VEC));
		lines |= (uint64_t)VEC_ANY(any) << line;
	}
	return lines;
}

TARGET static bool NAME(both)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words)
{
	VEC any = { 0 };

	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC v = *(const VEC *)(a + i) & *(const VEC *)(b + i);

		*(VEC *)(to + i) = v;
		any |= v;
	}
	return VEC_ANY(any);
}

TARGET static bool NAME(without)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words)
{
	VEC any = { 0 };

	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC v = *(const VEC *)(a + i) & ~*(const VEC *)(b + i);

		*(VEC *)(to + i) = v;
		any |= v;
	}
	return VEC_ANY(any);
}

TARGET static void NAME(join)(uint64_t *to, const uint64_t *a, size_t words)
{
	for (size_t i = 0; i < words; i += sizeof(VEC) / 8)
		*(VEC *)(to + i) |= *(const VEC *)(a + i);
}

TARGET static void NAME(count)(uint64_t *const *planes, unsigned digits, const uint64_t *a,
			       size_t words)
{
	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC carry = *(const VEC *)(a + i);

		for (unsigned d = 0; d < digits && VEC_ANY(carry); d++) {
			VEC *plane = (VEC *)(planes[d] + i);
			VEC old = *plane;

			*plane = old ^ carry;
			carry &= old;
		}
	}
}

TARGET static bool NAME(at_least)(uint64_t *to, const uint64_t *a, uint64_t *const *planes,
				  unsigned digits, unsigned k, size_t words)
{
	VEC any = { 0 };

	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC zero = { 0 };
		VEC enough = ~zero; /* of the digits so far, lowest first */

		for (unsigned d = 0; d < digits; d++) {
			VEC plane = *(const VEC *)(planes[d] + i);

			enough = k >> d & 1 ? plane & enough : plane | enough;
		}
		enough &= *(const VEC *)(a + i);
		*(VEC *)(to + i) = enough;
		any |= enough;
	}
	return VEC_ANY(any);
}

TARGET static void NAME(between)(uint64_t *to, const uint64_t *numbers, uint32_t n, uint64_t least,
				 uint64_t most, uint64_t flip)
{
	enum {
		EACH = sizeof(VEC) / 8
	};
	const VEC low = (VEC){ 0 } + least, high = (VEC){ 0 } + most, flips = (VEC){ 0 } + flip;
	uint32_t i = 0;

	for (; n - i >= 64; i += 64) {
		uint64_t out = 0;

		for (unsigned k = 0; k < 64; k += EACH) {
			VEC v = *(const VEC *)(numbers + i + k) ^ flips;

			out |= (uint64_t)VEC_OUTSIDE(v, low, high) << k;
		}
		to[i / 64] = ~out;
	}
	if (i < n)
		to[i / 64] = 0;
	for (; i < n; i++)
		if ((numbers[i] ^ flip) >= least && (numbers[i] ^ flip) <= most)
			to[i / 64] |= 1ull << i % 64;
}

TARGET static void NAME(pairs)(uint64_t *to, const uint8_t *pairs, uint32_t n,
			       const uint64_t value[2], const uint64_t mask[2])
{
	enum {
		EACH = sizeof(VEC) / 8
	};
	const uint64_t values[8] = { value[0], value[1], value[0], value[1],
				     value[0], value[1], value[0], value[1] };
	const uint64_t masks[8] = { mask[0], mask[1], mask[0], mask[1],
				    mask[0], mask[1], mask[0], mask[1] };
	uint32_t i = 0;

	for (; n - i >= 32; i += 32) {
		uint64_t differ = 0;

		for (unsigned k = 0; k < 64; k += EACH) {
			VEC v = *(const VEC *)(pairs + 16ull * i + 8ull * k) &
				*(const VEC *)(masks + k % 8);

			differ |= (uint64_t)VEC_DIFFERS(v, *(const VEC *)(values + k % 8)) << k;
		}
		if (i % 64 == 0)
			to[i / 64] = 0;
		to[i / 64] |= (uint64_t)row_even_bits(~(differ | differ >> 1)) << i % 64;
	}
	if (i < n && i % 64 == 0)
		to[i / 64] = 0;
	for (; i < n; i++) {
		uint64_t pair[2];

		memcpy(pair, pairs + 16ull * i, sizeof pair);
		if ((pair[0] & mask[0]) == value[0] && (pair[1] & mask[1]) == value[1])
			to[i / 64] |= 1ull << i % 64;
	}
}

TARGET static void NAME(byte_bits)(uint64_t *to, const uint8_t *p, uint32_t n, unsigned bit)
{
	uint32_t i = 0;

	memset(to, 0, ((size_t)n + 63) / 64 * 8);
	for (; n - i >= BYTES_EACH; i += BYTES_EACH)
		to[i / 64] |= (uint64_t)BYTES_BITS(p + i, bit) << i % 64;
	for (; i < n; i++)
		to[i / 64] |= (uint64_t)(p[i] >> bit & 1) << i % 64;
}

TARGET static uint64_t NAME(sum)(const uint64_t *numbers, const uint64_t *bits, uint32_t n)
{
	VEC sums = { 0 };
	uint64_t sum = 0, lanes[sizeof(VEC) / 8];

	for (uint32_t word = 0; word * 64 < n; word++) {
		const uint64_t *of = numbers + word * 64ull;

		if (bits[word] == UINT64_MAX) {
			for (unsigned i = 0; i < 64; i += sizeof(VEC) / 8)
				sums += *(const VEC *)(of + i);
			continue;
		}
		for (uint64_t todo = bits[word]; todo; todo &= todo - 1)
			sum += of[__builtin_ctzll(todo)];
	}
	memcpy(lanes, &sums, sizeof lanes);
	for (unsigned i = 0; i < sizeof(VEC) / 8; i++)
		sum += lanes[i];
	return sum;
}

static const struct row_kernel NAME(kernel) = {
	KERNEL_NAME, NAME(and_rows), NAME(lines),   NAME(both),  NAME(without),   NAME(join),
	NAME(count), NAME(at_least), NAME(between), NAME(pairs), NAME(byte_bits), NAME(sum),
};

/* The next has its own. */
#undef KERNEL_NAME
#undef NAME
#undef TARGET
#undef VEC
#undef VEC_ANY
#undef VEC_OUTSIDE
#undef VEC_DIFFERS
#undef BYTES_EACH
#undef BYTES_BITS
