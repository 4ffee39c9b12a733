#include "child_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

/* Samples in the child: what is it, does it do harm, which rules match. */

enum {
	IDENTIFY_BYTES_MAX = 1 << 20, /* libmagic's tests are near the start */
	/* Against files made to be slow; libmagic's own defaults are 50, 100, 8192, 2048, 32768,
	 * 256. */
	MAGIC_INDIRECTIONS_MAX = 25,
	MAGIC_NAMES_MAX = 60,
	MAGIC_REGEX_BYTES_MAX = 4096,
	MAGIC_ELF_HEADERS_MAX = 512,
	MAGIC_ELF_NOTES_MAX = 128,
};

int worker_open_magic(struct worker *w, struct err *err)
{
	static const struct {
		int param;
		size_t value;
	} limits[] = {
		{ MAGIC_PARAM_INDIR_MAX, MAGIC_INDIRECTIONS_MAX },
		{ MAGIC_PARAM_NAME_MAX, MAGIC_NAMES_MAX },
		{ MAGIC_PARAM_REGEX_MAX, MAGIC_REGEX_BYTES_MAX },
		{ MAGIC_PARAM_ELF_PHNUM_MAX, MAGIC_ELF_HEADERS_MAX },
		{ MAGIC_PARAM_ELF_SHNUM_MAX, MAGIC_ELF_HEADERS_MAX },
		{ MAGIC_PARAM_ELF_NOTES_MAX, MAGIC_ELF_NOTES_MAX },
		{ MAGIC_PARAM_BYTES_MAX, IDENTIFY_BYTES_MAX },
	};

	w->magic = magic_open(MAGIC_NO_CHECK_COMPRESS);
	if (w->magic == NULL)
		return err_sys(err, errno, "opening libmagic");
	if (magic_load(w->magic, NULL) != 0)
		return err_set(err, ERR_NOT_FOUND, "libmagic's database: %s",
			       magic_error(w->magic));
	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		if (magic_setparam(w->magic, limits[i].param, &limits[i].value) != 0)
			return err_set(err, ERR_INVALID, "limiting libmagic: %s",
				       magic_error(w->magic));
	}
	/* A first use of each kind, so that nothing is set up inside the sandbox. */
	if (magic_buffer(w->magic, "weir\n", 5) == NULL)
		return err_set(err, ERR_INVALID, "libmagic: %s", magic_error(w->magic));
	return 0;
}

/* Its answer or "" when libmagic gave up on these bytes. */
static const char *ask_magic(struct worker *w, int flags, size_t n)
{
	magic_setflags(w->magic, MAGIC_NO_CHECK_COMPRESS | flags);

	const char *text = magic_buffer(w->magic, w->sample, n);

	return text != NULL ? text : "";
}

/* Take the request's sample range; false: answered already. */
static bool take_sample(struct worker *w, const struct packet *p, uint64_t max,
			struct packet_sample *ret)
{
	if (p->head.bytes != sizeof *ret || p->head.fds != 1)
		worker_exit(3);
	memcpy(ret, p->body, sizeof *ret);
	if (ret->len > max)
		ret->len = max;
	return worker_read_sample(w, p->fds[0], ret->offset, ret->len);
}

static size_t copy_text(char *room, size_t cap, const char *text)
{
	size_t n = strlen(text);

	if (n > cap - 1)
		n = cap - 1;
	memcpy(room, text, n);
	room[n] = '\0';
	return n + 1;
}

void worker_identify(struct worker *w, const struct packet *p)
{
	struct packet_sample sample;
	char text[8192 + 256];
	size_t n;

	if (!take_sample(w, p, IDENTIFY_BYTES_MAX, &sample))
		return;
	n = copy_text(text, 8192, ask_magic(w, 0, (size_t)sample.len));
	n += copy_text(text + n, 256, ask_magic(w, MAGIC_MIME_TYPE, (size_t)sample.len));
	worker_done(w, STATUS_OK, NULL, 0, text, n);
}

void worker_probe(struct worker *w, const struct packet *p)
{
	struct packet_sample sample;
	struct engine_buffer out = { 0 };

	if (!take_sample(w, p, UINT64_MAX, &sample))
		return;
	(void)ask_magic(w, 0,
			sample.len < IDENTIFY_BYTES_MAX ? (size_t)sample.len
							: (size_t)IDENTIFY_BYTES_MAX);
	/* A module that fails in an orderly way does no harm; death and endlessness do. */
	(void)engine_modules(w->sample, (size_t)sample.len, &out);
	engine_buffer_free(&out);
	worker_forget_sample(w);
	worker_done(w, STATUS_OK, NULL, 0, NULL, 0);
}

/* ---- Scan ---- */

struct hits {
	struct worker *w;
	uint8_t slot;
};

static void flush_hits(struct worker *w)
{
	worker_data(w, STREAM_HITS, w->out, w->out_bytes);
	w->out_bytes = 0;
}

static void add_hit(const struct engine_hit *hit, void *arg)
{
	const struct hits *hits = arg;
	struct worker *w = hits->w;
	size_t n = hit->match_count < SCAN_MATCHES_MAX ? hit->match_count : SCAN_MATCHES_MAX;
	struct packet_hit head = { .slot = hits->slot,
				   .cut = hit->matches_cut || n < hit->match_count,
				   .matches = (uint16_t)n,
				   .rule = hit->rule_index };
	size_t need = sizeof head + n * sizeof(struct packet_match);

	/* The last packet also carries the fixed part of DONE. */
	if (w->out_bytes + need >
	    sizeof w->out - sizeof(struct packet_head) - sizeof(struct packet_scanned))
		flush_hits(w);
	memcpy(w->out + w->out_bytes, &head, sizeof head);
	w->out_bytes += sizeof head;
	for (size_t i = 0; i < n; i++) {
		struct packet_match m = { hit->matches[i].offset, hit->matches[i].len };

		memcpy(w->out + w->out_bytes, &m, sizeof m);
		w->out_bytes += sizeof m;
	}
}

static const char *const fact_names[FACT_COUNT] = {
	[FACT_FILE_NAME] = "file_name",
	[FACT_FILE_TYPE] = "file_type",
	[FACT_MD5] = "md5",
	[FACT_SHA1] = "sha1",
	[FACT_SHA256] = "sha256",
	[FACT_TAGS] = "tags",
	[FACT_VT] = "vt",
	[FACT_SUBMISSIONS] = "submissions",
	[FACT_NEW_FILE] = "new_file",
};

static enum engine_result set_facts(const struct worker_slot *slot, const struct packet_scan *scan,
				    const char *texts)
{
	enum engine_result rc = ENGINE_OK;

	for (unsigned i = 0; i < FACT_TEXTS && rc == ENGINE_OK; i++) {
		size_t n = scan->fact_bytes[i];

		if (!(slot->uses & (1u << i)))
			rc = ENGINE_OK;
		else if (i != FACT_VT)
			rc = engine_scanner_set_str(slot->scanner, fact_names[i], texts, n);
		else if (n > 0)
			rc = engine_scanner_set_vt(slot->scanner, (const uint8_t *)texts, n);
		texts += n;
	}
	if (rc == ENGINE_OK && (slot->uses & (1u << FACT_SUBMISSIONS)))
		rc = engine_scanner_set_int(slot->scanner, fact_names[FACT_SUBMISSIONS],
					    scan->submissions);
	if (rc == ENGINE_OK && (slot->uses & (1u << FACT_NEW_FILE)))
		rc = engine_scanner_set_bool(slot->scanner, fact_names[FACT_NEW_FILE],
					     scan->new_file != 0);
	return rc;
}

/* Answer that the engine failed and put a fresh scanner in the place of the spoilt one. */
static void scan_failed(struct worker *w, struct worker_slot *slot)
{
	worker_fail(w, STATUS_FAILED, engine_last_error());
	w->out_bytes = 0;
	engine_scanner_free(slot->scanner);
	slot->scanner = NULL;
	if (engine_scanner_new(slot->rules, &slot->scanner) != ENGINE_OK)
		worker_exit(4);
}

/* The facts' texts: in the packet, or in a memory file of their own (*ret_owned). */
static const char *take_facts(struct worker *w, const struct packet *p,
			      const struct packet_scan *scan, void **ret_owned)
{
	size_t n = 0;

	for (unsigned i = 0; i < FACT_TEXTS; i++)
		n += scan->fact_bytes[i];
	if (p->head.fds == 1 && p->head.bytes == sizeof *scan + n)
		return (const char *)p->body + sizeof *scan;
	if (p->head.fds != 2 || p->head.bytes != sizeof *scan)
		worker_exit(3);
	if (mem_try_alloc(ret_owned, n, NULL) != 0 ||
	    worker_pread(p->fds[1], *ret_owned, n, 0) != STATUS_OK) {
		worker_fail(w, STATUS_FAILED, "the facts cannot be read");
		return NULL;
	}
	return *ret_owned;
}

void worker_scan(struct worker *w, const struct packet *p)
{
	AUTO(mem_drop) void *owned = NULL;
	struct packet_scan scan;
	struct packet_scanned done;
	const char *texts;

	if (p->head.bytes < sizeof scan || p->head.fds < 1)
		worker_exit(3);
	memcpy(&scan, p->body, sizeof scan);
	texts = take_facts(w, p, &scan, &owned);
	if (texts == NULL || !worker_read_sample(w, p->fds[0], scan.sample.offset, scan.sample.len))
		return;

	int64_t start_us = clock_mono_us(clock_system());

	w->out_bytes = 0;
	for (unsigned i = 0; i < SCAN_SLOTS; i++) {
		struct worker_slot *slot = &w->slots[i];
		struct hits hits = { w, (uint8_t)i };

		if (slot->scanner == NULL)
			continue;
		if (set_facts(slot, &scan, texts) != ENGINE_OK ||
		    engine_scanner_scan(slot->scanner, w->sample, (size_t)scan.sample.len,
					SCAN_MATCHES_MAX, add_hit, &hits) != ENGINE_OK) {
			scan_failed(w, slot);
			worker_forget_sample(w);
			return;
		}
	}
	done.scan_us = (uint64_t)(clock_mono_us(clock_system()) - start_us);
	worker_forget_sample(w);
	worker_done(w, STATUS_OK, &done, sizeof done, w->out, w->out_bytes);
}
