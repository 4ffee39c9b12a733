#include "format_internal.h"

#include <string.h>

static const uint8_t HEADER_MAGIC[8] = { 'w', 'e', 'i', 'r', 'p', 'a', 'c', 'k' };

/* Offsets of fields; the tables of docs/format/pack.md. */
enum {
	HEADER_VERSION = 8,
	HEADER_LENGTH = 10,
	HEADER_NUMBER = 12,
	HEADER_FEATURES = 16,
	HEADER_SALT = 20,
	HEADER_CRC = 28,
	RECORD_MAGIC = 0,
	RECORD_LENGTH = 4,
	RECORD_FLAGS = 6,
	RECORD_LEN = 8,
	RECORD_SHA256 = 16,
	RECORD_DATA_CRC = 48,
	RECORD_CRC = 52,
	FOOTER_MAGIC = 0,
	FOOTER_LENGTH = 4,
	FOOTER_FLAGS = 6,
	FOOTER_COUNT = 8,
	FOOTER_ROOT = 16,
	FOOTER_RESERVED = 48,
	FOOTER_CRC = 52,
};

void pack_header_encode(const struct pack_header *h, uint8_t out[PACK_HEADER_BYTES])
{
	memcpy(out, HEADER_MAGIC, sizeof HEADER_MAGIC);
	put_le16(out + HEADER_VERSION, PACK_VERSION);
	put_le16(out + HEADER_LENGTH, PACK_HEADER_BYTES);
	put_le32(out + HEADER_NUMBER, h->id.number);
	put_le32(out + HEADER_FEATURES, 0);
	memcpy(out + HEADER_SALT, h->id.salt, PACK_SALT_BYTES);
	put_le32(out + HEADER_CRC, crc32c(0, out, HEADER_CRC));
	put_le64(out + PACK_HEADER_MARK_AT, h->mark);
}

int pack_header_decode(struct pack_header *ret, const uint8_t p[PACK_HEADER_BYTES], uint32_t number,
		       struct err *err)
{
	if (memcmp(p, HEADER_MAGIC, sizeof HEADER_MAGIC) != 0)
		return err_set(err, ERR_CORRUPT, "not a pack: it does not begin with 'weirpack'");
	if (get_le32(p + HEADER_CRC) != crc32c(0, p, HEADER_CRC))
		return err_set(err, ERR_CORRUPT, "the header's checksum is wrong");
	if (get_le16(p + HEADER_VERSION) != PACK_VERSION ||
	    get_le16(p + HEADER_LENGTH) != PACK_HEADER_BYTES || get_le32(p + HEADER_FEATURES) != 0)
		return err_set(err, ERR_INVALID, "version %u, features %u: not known to this weir",
			       get_le16(p + HEADER_VERSION), get_le32(p + HEADER_FEATURES));
	if (get_le32(p + HEADER_NUMBER) != number)
		return err_set(err, ERR_CORRUPT, "the header names pack %u",
			       get_le32(p + HEADER_NUMBER));
	ret->id.number = number;
	memcpy(ret->id.salt, p + HEADER_SALT, PACK_SALT_BYTES);
	ret->mark = get_le64(p + PACK_HEADER_MARK_AT);
	return 0;
}

/*
 * Checksums of records and footers begin with number, salt and offset. So a
 * structure counts only at the place it was written to, and nobody who does not
 * know the salt can send a sample that looks like records when a damaged pack is
 * searched for the next whole one.
 */
static uint32_t bound_crc(const struct pack_id *id, uint64_t offset, const uint8_t *p, size_t n)
{
	uint8_t place[4 + PACK_SALT_BYTES + 8];

	put_le32(place, id->number);
	memcpy(place + 4, id->salt, PACK_SALT_BYTES);
	put_le64(place + 4 + PACK_SALT_BYTES, offset);
	return crc32c(crc32c(0, place, sizeof place), p, n);
}

static void record_fields(const struct record_header *h, uint8_t *out)
{
	put_le64(out + RECORD_LEN, h->len);
	memcpy(out + RECORD_SHA256, h->sha256, SHA256_BYTES);
	put_le32(out + RECORD_DATA_CRC, h->data_crc);
}

void record_header_encode(const struct record_header *h, const struct pack_id *id, uint64_t offset,
			  uint8_t out[PACK_RECORD_BYTES])
{
	put_le32(out + RECORD_MAGIC, PACK_RECORD_MAGIC);
	put_le16(out + RECORD_LENGTH, PACK_RECORD_BYTES);
	put_le16(out + RECORD_FLAGS, 0);
	record_fields(h, out);
	put_le32(out + RECORD_CRC, bound_crc(id, offset, out, RECORD_CRC));
	put_le64(out + PACK_RECORD_MARK_AT, h->mark);
}

const char *record_header_decode(struct record_header *ret, const struct pack_id *id,
				 uint64_t offset, const uint8_t p[PACK_RECORD_BYTES])
{
	if (get_le32(p + RECORD_MAGIC) != PACK_RECORD_MAGIC)
		return "no record begins here";
	if (get_le32(p + RECORD_CRC) != bound_crc(id, offset, p, RECORD_CRC))
		return "the record header's checksum is wrong";
	if (get_le16(p + RECORD_LENGTH) != PACK_RECORD_BYTES || get_le16(p + RECORD_FLAGS) != 0)
		return "the record header is of a kind not known to this weir";
	if (get_le64(p + RECORD_LEN) >= 1ull << 62)
		return "the record's length is impossible";
	ret->len = get_le64(p + RECORD_LEN);
	memcpy(ret->sha256, p + RECORD_SHA256, SHA256_BYTES);
	ret->data_crc = get_le32(p + RECORD_DATA_CRC);
	ret->mark = get_le64(p + PACK_RECORD_MARK_AT);
	return NULL;
}

void pack_footer_encode(const struct pack_footer *f, const struct pack_id *id, uint64_t offset,
			uint8_t out[PACK_FOOTER_BYTES])
{
	put_le32(out + FOOTER_MAGIC, PACK_FOOTER_MAGIC);
	put_le16(out + FOOTER_LENGTH, PACK_FOOTER_BYTES);
	put_le16(out + FOOTER_FLAGS, 0);
	put_le64(out + FOOTER_COUNT, f->count);
	memcpy(out + FOOTER_ROOT, f->root, SHA256_BYTES);
	put_le32(out + FOOTER_RESERVED, 0);
	put_le32(out + FOOTER_CRC, bound_crc(id, offset, out, FOOTER_CRC));
}

const char *pack_footer_decode(struct pack_footer *ret, const struct pack_id *id, uint64_t offset,
			       const uint8_t p[PACK_FOOTER_BYTES])
{
	if (get_le32(p + FOOTER_MAGIC) != PACK_FOOTER_MAGIC)
		return "no footer begins here";
	if (get_le32(p + FOOTER_CRC) != bound_crc(id, offset, p, FOOTER_CRC))
		return "the footer's checksum is wrong";
	if (get_le16(p + FOOTER_LENGTH) != PACK_FOOTER_BYTES || get_le16(p + FOOTER_FLAGS) != 0 ||
	    get_le32(p + FOOTER_RESERVED) != 0)
		return "the footer is of a kind not known to this weir";
	ret->count = get_le64(p + FOOTER_COUNT);
	memcpy(ret->root, p + FOOTER_ROOT, SHA256_BYTES);
	return NULL;
}

void pack_chain_add(struct pack_chain *c, const struct record_header *h)
{
	/* The previous root, then the record's fields as they stand in the file. */
	uint8_t text[SHA256_BYTES + RECORD_CRC - RECORD_LEN];
	uint8_t fields[PACK_RECORD_BYTES];

	record_fields(h, fields);
	memcpy(text, c->root, SHA256_BYTES);
	memcpy(text + SHA256_BYTES, fields + RECORD_LEN, RECORD_CRC - RECORD_LEN);
	sha256_of(text, sizeof text, c->root);
	c->count++;
}
