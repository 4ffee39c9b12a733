#include "scan/scan.h"
#include <stdlib.h>
#include <string.h>
#include "base/json_view.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine.h"
#include "pool_internal.h"
#include "scan/filetype.h"

/* The parent's side of IDENTIFY: what a child says of a sample, checked. */

enum {
	/* The facts, and the texts of one packet: cleaned, each bad byte becomes three. */
	IDENTITY_BYTES_MAX = SCAN_FACTS_BYTES_MAX + 3 * PACKET_BYTES_MAX,
	TAGS_BYTES_MAX = 1024,
	SSDEEP_BYTES_MAX = 160,
};

/* What DONE says, in its order. */
enum text {
	TEXT_MAGIC,
	TEXT_MIME,
	TEXT_SSDEEP,
	TEXT_TAGS,
	TEXT_FAILURE,
	TEXT_COUNT
};

void scan_identity_release(struct scan_identity *id)
{
	buf_release(&id->text);
	free(id->features);
	*id = (struct scan_identity){ 0 };
}

int scan_identify_send(struct scan_child *child, const struct scan_sample *sample, bool want_facts,
		       struct err *err)
{
	struct packet_identify request = { .sample = { sample->offset, sample->len },
					   .want_facts = want_facts };
	struct iovec part = { &request, sizeof request };

	REQUIRE(child->pending < SCAN_DEPTH);
	TRY(client_check_sample(sample, err));
	TRY(client_begin(child, err));
	int rc = client_send(child, PACKET_IDENTIFY, &part, 1, &sample->fd, 1, err);

	if (rc != 0) {
		child->seq--; /* nothing was asked */
		return rc;
	}
	client_pending_add(child, PENDING_IDENTIFY, sample->len, 0);
	return 0;
}

static bool is_one_of(struct str s, const char *others)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
		    (c == '\0' || strchr(others, c) == NULL))
			return false;
	}
	return true;
}

/* Split "a\0b\0…" into exactly so many texts. */
static bool split_texts(const struct packet *done, struct str texts[TEXT_COUNT])
{
	const char *at = (const char *)done->body + sizeof(struct packet_identified);
	const char *end = (const char *)done->body + done->head.bytes;

	for (unsigned i = 0; i < TEXT_COUNT; i++) {
		const char *nul = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;

		if (nul == NULL)
			return false;
		texts[i] = str_make(at, (size_t)(nul - at));
		at = nul + 1;
	}
	return at == end;
}

/* The names in facts.def, by position. */
static int fact_member(struct str name)
{
	static const char *const names[] = {
#define FACT_MEMBER(name) #name,
#include "facts.def"
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (str_eq_z(name, names[i]))
			return (int)i;
	}
	return -1;
}

/* NULL, or what is wrong with these facts. */
static const char *check_facts(struct str facts)
{
	uint32_t seen = 0;
	struct str at, name, value;

	if (json_view_check(facts, NULL) != 0 || facts.p[0] != '{')
		return "facts that are no JSON object";
	for (at = json_view_inside(facts); json_view_member(&at, &name, &value);) {
		int member = fact_member(name);

		if (member < 0)
			return "a fact that is none";
		if (seen & (1u << member))
			return "a fact told twice";
		seen |= 1u << member;
	}
	return NULL;
}

/* Read packets up to DONE, which come with the facts and the features. */
static int read_facts(struct scan_child *child, const struct client_wait *wait, struct buf *facts,
		      struct buf *features, struct packet *ret_done, struct err *err)
{
	int64_t deadline_us = wait->deadline_us;

	for (;;) {
		TRY(client_recv(child, wait->seq, deadline_us,
				child->pool->options.identify_timeout_ms, ret_done, err));
		if (ret_done->head.type == PACKET_DONE)
			return 0;
		if (ret_done->head.stream != STREAM_FACTS &&
		    ret_done->head.stream != STREAM_FEATURES)
			return client_lie(child, err, "data of kind %u", ret_done->head.stream);
		struct buf *room = ret_done->head.stream == STREAM_FACTS ? facts : features;

		buf_add(room, ret_done->body, ret_done->head.bytes);
		if (buf_failed(room))
			return client_lie(child, err, "facts without end");
		/* It is past the work and only waits for us to read. */
		int64_t more_us = client_deadline(MORE_TIMEOUT_MS);

		deadline_us = deadline_us > more_us ? deadline_us : more_us;
	}
}

/* Where texts end up in id->text, which may move while it grows. */
struct place {
	size_t at;
	size_t n;
};

static struct place put_clean(struct buf *room, struct str text)
{
	size_t at = room->n;

	utf8_clean(room, text);
	return (struct place){ at, room->n - at };
}

/* {"ssdeep":"…",…}: the child's hash in front of the engine's members. */
static struct place put_facts(struct buf *room, struct str facts, struct str ssdeep)
{
	size_t at = room->n;
	struct str inside = json_view_inside(facts);

	if (facts.n == 0)
		return (struct place){ at, 0 };
	buf_add_c(room, '{');
	if (ssdeep.n > 0) {
		buf_add_str(room, STR("\"ssdeep\":\""));
		buf_add_str(room, ssdeep);
		buf_add_str(room, inside.n > 0 ? STR("\",") : STR("\""));
	}
	buf_add_str(room, inside);
	buf_add_c(room, '}');
	return (struct place){ at, room->n - at };
}

static struct str placed(const struct buf *room, struct place place)
{
	return str_make(room->p + place.at, place.n);
}

/* Check and keep the features: told by the version in `head`, and only then. */
static int take_features(struct scan_child *child, const struct packet_identified *head,
			 struct str bytes, struct scan_identity *id, struct err *err)
{
	size_t n = bytes.n / sizeof *id->features;

	_Static_assert((int)SCAN_FEATURES_VERSION == (int)ENGINE_FEATURES_VERSION, "");
	_Static_assert((int)SCAN_FEATURES_MAX == (int)ENGINE_FEATURES_MAX, "");
	if (head->features_version != 0 && head->features_version != SCAN_FEATURES_VERSION)
		return client_lie(child, err, "features of version %u", head->features_version);
	if (bytes.n % sizeof *id->features != 0 || (n > 0 && head->features_version == 0))
		return client_lie(child, err, "features that are none");
	id->features = mem_must_zalloc((n + 1) * sizeof *id->features);
	if (n > 0)
		memcpy(id->features, bytes.p, bytes.n);
	for (size_t i = 1; i < n; i++) {
		if (id->features[i] <= id->features[i - 1])
			return client_lie(child, err, "features that do not rise");
	}
	id->feature_count = n;
	id->features_version = head->features_version;
	return 0;
}

static int take_identity(struct scan_child *child, const struct packet *done, struct str facts,
			 struct str features, struct scan_identity *ret, struct err *err)
{
	struct packet_identified head;
	struct str texts[TEXT_COUNT];
	struct place places[TEXT_COUNT];

	if (done->head.bytes < sizeof head)
		return client_lie(child, err, "an end of %u bytes", done->head.bytes);
	memcpy(&head, done->body, sizeof head);
	if (!split_texts(done, texts))
		return client_lie(child, err, "an identity that is not %d texts", TEXT_COUNT);
	if (texts[TEXT_TAGS].n > TAGS_BYTES_MAX || !is_one_of(texts[TEXT_TAGS], "- "))
		return client_lie(child, err, "tags that are none");
	if (texts[TEXT_SSDEEP].n > SSDEEP_BYTES_MAX ||
	    !is_one_of(texts[TEXT_SSDEEP], ":/+ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		return client_lie(child, err, "a fuzzy hash that is none");
	const char *wrong = facts.n > 0 ? check_facts(facts) : NULL;

	if (wrong == NULL && json_view_find(facts, STR("ssdeep")).n > 0)
		wrong = "a fact told twice";
	if (wrong != NULL)
		return client_lie(child, err, "%s", wrong);

	struct scan_identity id = { .text = BUF_INIT(IDENTITY_BYTES_MAX) };

	for (unsigned i = 0; i < TEXT_COUNT; i++)
		places[i] = put_clean(&id.text, texts[i]);
	struct place facts_at = put_facts(&id.text, facts, texts[TEXT_SSDEEP]);

	int rc = buf_check(&id.text, "what a sample is", err);

	if (rc == 0)
		rc = take_features(child, &head, features, &id, err);
	if (rc != 0) {
		scan_identity_release(&id);
		return rc;
	}
	id.magic = placed(&id.text, places[TEXT_MAGIC]);
	id.mime = placed(&id.text, places[TEXT_MIME]);
	id.tags = placed(&id.text, places[TEXT_TAGS]);
	id.failure = placed(&id.text, places[TEXT_FAILURE]);
	id.facts = placed(&id.text, facts_at);
	id.examine_us = head.examine_us;
	id.file_type = filetype_of(id.magic, id.mime)->vt;
	*ret = id;
	return 0;
}

int scan_identify_recv(struct scan_child *child, struct scan_identity *ret, struct err *err)
{
	AUTO(buf_release) struct buf facts = BUF_INIT(SCAN_FACTS_BYTES_MAX);
	AUTO(buf_release)
	struct buf features = BUF_INIT(SCAN_FEATURES_MAX * sizeof(uint64_t));
	struct client_wait wait;
	struct packet done;

	TRY(client_pending_oldest(child, PENDING_IDENTIFY, child->pool->options.identify_timeout_ms,
				  &wait, err));
	TRY(read_facts(child, &wait, &facts, &features, &done, err));
	client_pending_done(child);
	if (done.head.status != STATUS_OK)
		return client_failed(child, &done, err);
	return take_identity(child, &done, buf_str(&facts), buf_str(&features), ret, err);
}

int scan_identify(struct scan_child *child, const struct scan_sample *sample,
		  struct scan_identity *ret, struct err *err)
{
	REQUIRE(child->pending == 0);
	TRY(scan_identify_send(child, sample, true, err));
	return scan_identify_recv(child, ret, err);
}
