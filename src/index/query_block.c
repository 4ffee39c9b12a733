#include "query_internal.h"

#include "base/mem.h"
#include "index/gram.h"

/* Words of `columns` bits, to the end of a line. */
static size_t words_of(uint32_t columns)
{
	return ((size_t)columns + 8 * ROW_LINE - 1) / (8 * ROW_LINE) * QUERY_LINE_WORDS;
}

/* Does each document have one column? Some are too short for any, some have several. */
static bool is_plain(const struct segment_block *b)
{
	uint64_t columns = 0;

	for (uint32_t i = 0; i < b->matrix_count; i++)
		columns += b->matrices[i].columns;
	return !b->has_chunks && columns == b->doc_count;
}

size_t query_block_words(const struct segment_block *b)
{
	size_t words = is_plain(b) ? 0 : words_of(b->doc_count);

	for (uint32_t i = 0; i < b->matrix_count; i++)
		words += words_of(b->matrices[i].columns);
	return words;
}

/* ---- bits at any place -------------------------------------------------------------- */

/* to = count bits of `from` that begin with bit `first`; zeros to the end of its line. */
static void bits_cut(uint64_t *to, const uint64_t *from, uint32_t first, uint32_t count)
{
	size_t words = words_of(count), used = ((size_t)count + 63) / 64;
	unsigned shift = first % 64;

	from += first / 64;
	for (size_t i = 0; i < used; i++) {
		to[i] = from[i] >> shift;
		if (shift && i * 64 + 64 - shift < count)
			to[i] |= from[i + 1] << (64 - shift);
	}
	if (count % 64)
		to[used - 1] &= (1ull << count % 64) - 1;
	memset(to + used, 0, (words - used) * 8);
}

/* The first `count` bits of `from` are added to those of `to` that begin with bit `first`. */
static void bits_add(uint64_t *to, uint32_t first, const uint64_t *from, uint32_t count)
{
	unsigned shift = first % 64;

	to += first / 64;
	for (size_t i = 0; i * 64 < count; i++) {
		to[i] |= from[i] << shift;
		if (shift && from[i] >> (64 - shift))
			to[i + 1] |= from[i] >> (64 - shift);
	}
}

/* ---- tiles -------------------------------------------------------------------------- */

static void tile_add(struct query_block *block, const struct query_tile *tile)
{
	struct query_tile *t = &block->tiles[block->tile_count++];

	*t = *tile;
	t->word = block->words;
	block->words += words_of(tile->columns);
}

/*
 * Documents of several columns and such without any are told by their size, as
 * signature_columns does; segment_open has checked that columns fit it. Of those without
 * any only what passes the filter is of interest.
 */
static void bare_make(struct query *q)
{
	struct query_block *block = &q->block;
	const struct segment_block *b = block->b;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;
	uint32_t n = 0;

	query_column_ahead(q, sizes, b->doc_count * sizeof *sizes);
	q->kernel->between(q->doc_bits, sizes, b->doc_count, 0, GRAM_FOLD4_BYTES - 1, 0);
	for (uint32_t word = 0; word * 64 < b->doc_count; word++) {
		uint64_t todo = (q->doc_bits[word] & q->doc_alive[word]) | q->doc_always[word];

		for (; todo; todo &= todo - 1)
			block->bare[n++] = (uint16_t)(word * 64 + (uint32_t)__builtin_ctzll(todo));
	}
	if (n > 0)
		tile_add(block, &(struct query_tile){ .docs = block->bare, .columns = n });
}

/* A number for each document of several columns; its place among them. */
struct numbers {
	uint64_t several[QUERY_DOC_WORDS];
	uint32_t before[QUERY_DOC_WORDS]; /* in earlier words */
};

static uint32_t number_of(const struct numbers *numbers, uint32_t doc)
{
	uint64_t below = (1ull << doc % 64) - 1;

	return numbers->before[doc / 64] + row_bits(numbers->several[doc / 64] & below);
}

/* One column more of a document; where there are places yet, its own. */
static void spread_add(struct query_block *block, uint32_t number, size_t place, bool is_counting)
{
	struct query_spread *s = &block->spreads[number];

	if (!is_counting)
		block->places[s->first + s->count] = (uint32_t)place;
	s->count++;
}

/* All columns of documents of several: counted, then listed. */
static void spreads_walk(struct query_block *block, const struct numbers *numbers, bool is_counting)
{
	for (uint32_t i = 0; i < block->tile_count; i++) {
		const struct query_tile *t = &block->tiles[i];

		for (uint32_t column = 0; column < t->columns; column++) {
			uint32_t doc = t->docs ? t->docs[column] : t->doc_base + column;
			uint64_t word = numbers->several[doc / 64];

			if (word == 0 && !t->docs) {
				column += 63 - doc % 64;
				continue;
			}
			if (word >> doc % 64 & 1)
				spread_add(block, number_of(numbers, doc), t->word * 64 + column,
					   is_counting);
		}
	}
}

static int spreads_make(struct query *q, struct err *err)
{
	struct query_block *block = &q->block;
	const struct segment_block *b = block->b;
	const uint64_t *sizes = segment_sizes(q->seg) + b->doc_first;
	struct numbers numbers;
	uint32_t spreads = 0, places = 0;

	memset(numbers.several, 0, sizeof numbers.several);
	query_column_ahead(q, sizes, b->doc_count * sizeof *sizes);
	q->kernel->between(numbers.several, sizes, b->doc_count, SEGMENT_CHUNK_FROM + 1, UINT64_MAX,
			   0);
	for (uint32_t i = 0; i < QUERY_DOC_WORDS; i++) {
		numbers.before[i] = spreads;
		spreads += row_bits(numbers.several[i]);
	}
	if (spreads > block->spread_cap) {
		mem_drop(&block->spreads);
		block->spread_cap = 0;
		TRY(mem_try_array((void **)&block->spreads, spreads, sizeof *block->spreads, err));
		block->spread_cap = spreads;
	}
	block->spread_count = spreads;
	for (uint32_t i = 0; i < spreads; i++)
		block->spreads[i].count = 0;
	spreads_walk(block, &numbers, true);
	for (uint32_t i = 0; i < spreads; i++) {
		block->spreads[i].first = places;
		places += block->spreads[i].count;
		block->spreads[i].count = 0;
	}
	if (places > block->place_cap) {
		mem_drop(&block->places);
		block->place_cap = 0;
		TRY(mem_try_array((void **)&block->places, places, sizeof *block->places, err));
		block->place_cap = places;
	}
	spreads_walk(block, &numbers, false);
	return 0;
}

int query_block_begin(struct query *q, const struct segment_block *b, struct err *err)
{
	struct query_block *block = &q->block;

	block->b = b;
	block->tile_count = 0;
	block->words = 0;
	block->spread_count = 0;
	block->is_damaged = false;
	for (uint32_t i = 0; i < b->matrix_count; i++) {
		const struct segment_matrix *m = &b->matrices[i];

		REQUIRE(m->columns <= SEGMENT_BLOCK_DOCS);
		tile_add(block, &(struct query_tile){ .m = m,
						      .docs = m->docs,
						      .doc_base = m->doc_base,
						      .columns = m->columns });
	}
	if (b->has_chunks)
		TRY(spreads_make(q, err));
	if (!is_plain(b))
		bare_make(q);
	REQUIRE(block->words <= q->set_words);
	query_set_of_docs(q, q->doc_alive, block->alive);
	return 0;
}

/* ---- sets --------------------------------------------------------------------------- */

void query_set_of_docs(struct query *q, const uint64_t *bits, uint64_t *set)
{
	for (uint32_t i = 0; i < q->block.tile_count; i++) {
		const struct query_tile *t = &q->block.tiles[i];
		uint64_t *to = set + t->word;

		if (!t->docs) {
			REQUIRE(t->doc_base + t->columns <= QUERY_DOCS);
			bits_cut(to, bits, t->doc_base, t->columns);
			continue;
		}
		memset(to, 0, words_of(t->columns) * 8);
		for (uint32_t column = 0; column < t->columns; column++) {
			uint32_t doc = t->docs[column];

			to[column / 64] |= (bits[doc / 64] >> doc % 64 & 1) << column % 64;
		}
	}
}

void query_set_docs(struct query *q, const uint64_t *set, uint64_t *bits)
{
	memset(bits, 0, ((size_t)q->block.b->doc_count + 63) / 64 * 8);
	for (uint32_t i = 0; i < q->block.tile_count; i++) {
		const struct query_tile *t = &q->block.tiles[i];
		const uint64_t *from = set + t->word;

		if (!t->docs) {
			bits_add(bits, t->doc_base, from, t->columns);
			continue;
		}
		for (uint32_t word = 0; word * 64 < t->columns; word++) {
			for (uint64_t todo = from[word]; todo; todo &= todo - 1) {
				uint32_t doc = t->docs[word * 64 + (uint32_t)__builtin_ctzll(todo)];

				bits[doc / 64] |= 1ull << doc % 64;
			}
		}
	}
}

void query_set_spread(struct query *q, uint64_t *set)
{
	const struct query_block *block = &q->block;

	for (uint32_t i = 0; i < block->spread_count; i++) {
		const uint32_t *places = block->places + block->spreads[i].first;
		uint32_t n = block->spreads[i].count;
		uint64_t any = 0;

		for (uint32_t k = 0; k < n; k++)
			any |= set[places[k] / 64] >> places[k] % 64 & 1;
		for (uint32_t k = 0; k < n && any; k++)
			set[places[k] / 64] |= 1ull << places[k] % 64;
	}
}
