#include "child_internal.h"
#include <errno.h>
#include <fuzzy.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"

/* Samples in the child: what is it, what is to be known of it, does it do harm. */

enum {
	IDENTIFY_BYTES_MAX = 1 << 20, /* libmagic's tests are near the start */
	/* Against files made to be slow; libmagic's own defaults are 50, 100, 8192, 2048, 32768,
	 * 256. */
	MAGIC_INDIRECTIONS_MAX = 25,
	MAGIC_NAMES_MAX = 60,
	MAGIC_REGEX_BYTES_MAX = 4096,
	MAGIC_ELF_HEADERS_MAX = 512,
	MAGIC_ELF_NOTES_MAX = 128,
	DESCRIPTION_BYTES_MAX = 8192,
	MIME_BYTES_MAX = 256,
	TEXTS_BYTES_MAX =
		PACKET_BYTES_MAX - sizeof(struct packet_head) - sizeof(struct packet_identified),
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
static bool take_sample(struct worker *w, const struct packet *p,
			const struct packet_sample *sample)
{
	return worker_read_sample(w, p->fds[0], sample->offset, sample->len);
}

static void add_text(struct buf *out, const char *text)
{
	buf_add(out, text, strlen(text));
	buf_add_c(out, '\0');
}

/* For the parts of a sample, while its own description is kept elsewhere. */
static const char *part_type(const uint8_t *part, size_t n, void *arg)
{
	const struct worker *w = arg;

	return magic_buffer(w->magic, part, n < IDENTIFY_BYTES_MAX ? n : IDENTIFY_BYTES_MAX);
}

/* libmagic's description, and for an ELF file what it would add had it the file itself. */
static void add_description(struct buf *out, const char *magic, const struct engine_facts *facts)
{
	static const char shared[] = "shared object";
	struct str text = str_of(magic);
	const char *at = facts->is_pie ? strstr(magic, shared) : NULL;

	if (at != NULL) {
		size_t before = (size_t)(at - magic);

		buf_add(out, text.p, before);
		buf_add_str(out, STR("pie executable"));
		text = str_make(at + strlen(shared), text.n - before - strlen(shared));
	}
	buf_add_str(out, text);
	buf_add(out, facts->magic_tail.data, facts->magic_tail.len);
	buf_add_c(out, '\0');
}

/*
 * All that is to be known of the sample at hand: `out` gets the texts of DONE,
 * `facts` (released by the caller) what the engine found.
 */
static void examine(struct worker *w, size_t n, bool want_facts, struct buf *out,
		    struct engine_facts *facts)
{
	size_t head = n < IDENTIFY_BYTES_MAX ? n : IDENTIFY_BYTES_MAX;
	char magic[DESCRIPTION_BYTES_MAX], mime[MIME_BYTES_MAX];
	char ssdeep[FUZZY_MAX_RESULT] = "";
	const char *failure = "";

	(void)snprintf(magic, sizeof magic, "%s", ask_magic(w, 0, head));
	(void)snprintf(mime, sizeof mime, "%s", ask_magic(w, MAGIC_MIME_TYPE, head));
	magic_setflags(w->magic, MAGIC_NO_CHECK_COMPRESS);
	if (want_facts) {
		if (fuzzy_hash_buf(w->sample, (uint32_t)n, ssdeep) != 0)
			ssdeep[0] = '\0';
		if (engine_facts(w->sample, n, part_type, w, facts) != ENGINE_OK)
			failure = engine_last_error();
	}
	add_description(out, magic, facts);
	add_text(out, mime);
	add_text(out, ssdeep);
	buf_add(out, facts->tags.data, facts->tags.len);
	buf_add_c(out, '\0');
	add_text(out, failure);
}

void worker_identify(struct worker *w, const struct packet *p)
{
	AUTO(buf_release)
	struct buf texts = BUF_INIT(TEXTS_BYTES_MAX);
	struct engine_facts facts = { 0 };
	struct packet_identify request;
	struct packet_identified done = { 0 };

	if (p->head.bytes != sizeof request || p->head.fds != 1)
		worker_exit(3);
	memcpy(&request, p->body, sizeof request);
	if (!request.want_facts && request.sample.len > IDENTIFY_BYTES_MAX)
		request.sample.len = IDENTIFY_BYTES_MAX;
	if (!take_sample(w, p, &request.sample))
		return;
	int64_t start_us = clock_mono_us(clock_system());

	examine(w, (size_t)request.sample.len, request.want_facts != 0, &texts, &facts);
	done.examine_us = (uint64_t)(clock_mono_us(clock_system()) - start_us);
	done.features_version = facts.features_version;
	worker_data(w, STREAM_FACTS, facts.object.data, facts.object.len);
	worker_data(w, STREAM_FEATURES, facts.features,
		    facts.feature_count * sizeof *facts.features);
	if (buf_failed(&texts))
		worker_fail(w, STATUS_FAILED, "a description without end");
	else
		worker_done(w, STATUS_OK, &done, sizeof done, texts.p, texts.n);
	engine_facts_release(&facts);
	worker_forget_sample(w);
}

void worker_probe(struct worker *w, const struct packet *p)
{
	AUTO(buf_release)
	struct buf texts = BUF_INIT(TEXTS_BYTES_MAX);
	struct engine_facts facts = { 0 };
	struct engine_buffer out = { 0 };
	struct packet_sample sample;

	if (p->head.bytes != sizeof sample || p->head.fds != 1)
		worker_exit(3);
	memcpy(&sample, p->body, sizeof sample);
	if (!take_sample(w, p, &sample))
		return;
	/* A module that fails in an orderly way does no harm; death and endlessness do. */
	examine(w, (size_t)sample.len, true, &texts, &facts);
	engine_facts_release(&facts);
	(void)engine_modules(w->sample, (size_t)sample.len, &out);
	engine_buffer_free(&out);
	worker_forget_sample(w);
	worker_done(w, STATUS_OK, NULL, 0, NULL, 0);
}
