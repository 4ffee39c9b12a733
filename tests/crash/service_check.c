#include "service_ledger.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/thread.h"
#include "service/files.h"
#include "service/rulesets.h"
#include "service/stream.h"
#include "service/users.h"
#include "service/verify.h"

/*
 * After a crash: open what survived, hunt to the end, and hold it against the
 * ledger and against what the rules must have found.
 */
enum {
	ROWS_MAX = 4096,
	AGAIN_EVERY = 3, /* each third sample is sent again: known, and told only once */
	INDEX_LOOK_MS = 10,
	INDEX_LOOKS = 3000,
};

struct change {
	int64_t number, ruleset, version;
	bool live; /* after it */
};
struct version {
	int64_t ruleset, version;
	unsigned tokens;
};
struct hunted {
	uint8_t sha256[SHA256_BYTES];
	int64_t generation;
	int64_t state;
};
struct told {
	int64_t seq, owner, ruleset, state;
	uint8_t sha256[SHA256_BYTES];
	unsigned token;
	bool explained;
};

struct check {
	struct ledger *led;
	struct service *svc;
	struct arena *arena;
	FILE *why;
	unsigned losses;
	/* what the database says */
	struct change changes[ROWS_MAX];
	size_t change_count;
	struct version versions[ROWS_MAX];
	size_t version_count;
	struct hunted hunted[ROWS_MAX];
	size_t hunted_count;
	struct told told[ROWS_MAX];
	size_t told_count;
	/* the samples of the ledger, by number */
	uint32_t numbers[LED_UPLOADS];
	uint8_t sha256[LED_UPLOADS][SHA256_BYTES];
	unsigned tokens[LED_UPLOADS];
	size_t sample_count;
	int64_t number; /* of count_of */
};

__attribute__((format(printf, 2, 3))) static void lost(struct check *c, const char *form, ...)
{
	va_list args;

	va_start(args, form);
	vfprintf(c->why, form, args);
	va_end(args);
	fputc('\n', c->why);
	c->losses++;
}

/* ---- Reading tables ---- */

static void each_row(struct check *c, const char *text,
		     void (*take)(struct check *c, const struct sql_query *q))
{
	struct sql_query q = { 0 };
	struct sql_conn *conn;
	struct err err;
	bool row = true;
	int rc;

	if (sql_reader_take(&conn, service_db(c->svc), &err) != 0) {
		lost(c, "%s", err.msg);
		return;
	}
	rc = sql_start(&q, conn, text, &err);
	while (rc == 0 && (rc = sql_next(&q, &row, &err)) == 0 && row)
		take(c, &q);
	if (rc)
		lost(c, "%s: %s", text, err.msg);
	sql_end(&q);
	sql_reader_give(service_db(c->svc), conn);
}

static void take_change(struct check *c, const struct sql_query *q)
{
	struct str change = sql_str(q, 3);

	REQUIRE(c->change_count < ROWS_MAX);
	c->changes[c->change_count++] =
		(struct change){ sql_i64(q, 0), sql_i64(q, 1), sql_i64(q, 2),
				 str_eq_z(change, "create") || str_eq_z(change, "edit") ||
					 str_eq_z(change, "enable") };
}

static void take_version(struct check *c, const struct sql_query *q)
{
	struct str rules = sql_str(q, 2);

	REQUIRE(c->version_count < ROWS_MAX);
	c->versions[c->version_count++] =
		(struct version){ sql_i64(q, 0), sql_i64(q, 1), rules_tokens(rules.p, rules.n) };
}

static void take_hunted(struct check *c, const struct sql_query *q)
{
	struct hunted *h = &c->hunted[c->hunted_count++];

	REQUIRE(c->hunted_count <= ROWS_MAX);
	memcpy(h->sha256, sql_str(q, 0).p, SHA256_BYTES);
	h->generation = sql_i64(q, 1);
	h->state = sql_i64(q, 2);
}

static void take_told(struct check *c, const struct sql_query *q)
{
	struct told *t = &c->told[c->told_count++];
	struct str rule = sql_str(q, 4);

	REQUIRE(c->told_count <= ROWS_MAX);
	*t = (struct told){ .seq = sql_i64(q, 0),
			    .owner = sql_i64(q, 1),
			    .ruleset = sql_i64(q, 2),
			    .state = sql_i64(q, 5) };
	memcpy(t->sha256, sql_str(q, 3).p, SHA256_BYTES);
	t->token = rule.n == 5 ? (unsigned)(rule.p[4] - '0') : TOKENS;
}

static void read_tables(struct check *c)
{
	each_row(c,
		 "SELECT number, ruleset_id, ruleset_version, change FROM generation "
		 "ORDER BY number",
		 take_change);
	each_row(c, "SELECT ruleset_id, version, rules FROM ruleset_version", take_version);
	each_row(c,
		 "SELECT f.sha256, a.generation, a.state FROM analysis a JOIN file f "
		 "ON f.id = a.file_id",
		 take_hunted);
	each_row(c,
		 "SELECT seq, owner_id, source_id, entity_id, rule, state FROM sighting "
		 "ORDER BY seq",
		 take_told);
}

static void take_number(struct check *c, const struct sql_query *q)
{
	c->number = sql_i64(q, 0);
}

static int64_t count_of(struct check *c, const char *text)
{
	c->number = -1;
	each_row(c, text, take_number);
	return c->number;
}

/* ---- Samples ---- */

static size_t sample_index(struct check *c, uint32_t number)
{
	struct sample s;
	size_t i;

	for (i = 0; i < c->sample_count; i++) {
		if (c->numbers[i] == number)
			return i;
	}
	s = sample_make(c->led, number);
	c->numbers[i] = number;
	c->tokens[i] = s.tokens;
	sha256_of(s.p, s.n, c->sha256[i]);
	free(s.p);
	c->sample_count++;
	return i;
}

static const struct led_removal *removal_of(const struct check *c, uint32_t number)
{
	for (int i = 0; i < atomic_load(&c->led->removal_count); i++) {
		const struct led_removal *r = &c->led->removals[i];

		if (atomic_load(&r->asked) && r->sample == number)
			return r;
	}
	return NULL;
}

static bool bytes_are_whole(struct check *c, const struct file_info *file, const uint8_t *sha256)
{
	uint8_t got[SHA256_BYTES];
	uint8_t *bytes = mem_must_zalloc(file->size + 1);
	struct err err;
	bool same = file->at.len == file->size &&
		    packs_read(service_packs(c->svc), &file->at, 0, bytes, file->size, &err) == 0;

	sha256_of(bytes, file->size, got);
	free(bytes);
	return same && memcmp(got, sha256, SHA256_BYTES) == 0;
}

static void check_upload(struct check *c, const struct led_upload *u)
{
	size_t at = sample_index(c, u->sample);
	char id[ANALYSIS_ID_CHARS + 1];
	struct analysis_info analysis;
	struct file_info file;
	struct err err;

	if (removal_of(c, u->sample))
		return;
	if (file_get_sha256(c->svc, c->sha256[at], c->arena, &file, &err) != 0) {
		lost(c, "sample %u: %s", u->sample, err.msg);
		return;
	}
	if (!bytes_are_whole(c, &file, c->sha256[at]))
		lost(c, "sample %u has other bytes", u->sample);
	analysis_id_format(c->sha256[at], u->intake, id);
	if (analysis_get(c->svc, str_of(id), c->arena, &analysis, &err) != 0)
		lost(c, "analysis %s: %s", id, err.msg);
	else if (analysis.state != ANALYSIS_COMPLETED || analysis.not_run.n)
		lost(c, "analysis %s is in state %d, not run: " STR_FMT, id, analysis.state,
		     STR_ARG(analysis.not_run));
	else if (analysis.generation < u->generation)
		lost(c, "analysis %s: generation %lld, acknowledged when it was %lld", id,
		     (long long)analysis.generation, (long long)u->generation);
}

/* Gone from every answer, and not a byte of it left where it was. */
static void check_removal(struct check *c, const struct led_removal *r)
{
	size_t at = sample_index(c, r->sample);
	struct pack_file *pack;
	struct file_info file;
	struct err err;
	uint8_t *bytes;

	if (file_get_sha256(c->svc, c->sha256[at], c->arena, &file, &err) != -ERR_NOT_FOUND) {
		lost(c, "removed sample %u is there", r->sample);
		return;
	}
	if (packs_get(service_packs(c->svc), r->pack, &pack, &err) != 0)
		return; /* the pack itself is gone */
	bytes = mem_must_zalloc(r->len + 1);
	if (pread(pack_file_fd(pack), bytes, r->len, (off_t)r->offset) >= 0) {
		for (uint64_t i = 0; i < r->len; i++) {
			if (bytes[i]) {
				lost(c, "removed sample %u: byte %llu is not zero", r->sample,
				     (unsigned long long)i);
				break;
			}
		}
	}
	free(bytes);
	pack_file_put(service_packs(c->svc), pack);
}

/* ---- Rulesets ---- */

static bool ruleset_is(struct check *c, const struct led_ruleset *r, const struct led_op *op)
{
	struct ruleset is;
	struct err err;
	int rc = ruleset_get(c->svc, c->led->users[r->user], r->id, c->arena, &is, &err);

	if (op->deleted)
		return rc == -ERR_NOT_FOUND;
	return rc == 0 && is.enabled == op->enabled && is.generation >= op->generation &&
	       rules_tokens(is.rules.p, is.rules.n) == op->tokens;
}

/* The last acknowledged change stands, or the one asked for after it. */
static void check_ruleset(struct check *c, const struct led_ruleset *r)
{
	int acked = atomic_load(&r->acked), asked = atomic_load(&r->asked);

	if (acked == 0)
		return;
	if (!ruleset_is(c, r, &r->ops[acked - 1]) &&
	    !(asked > acked && ruleset_is(c, r, &r->ops[acked])))
		lost(c, "ruleset %lld is not as its change %d left it", (long long)r->id, acked);
}

/* The last change up to this generation; NULL: there was none. */
static const struct change *change_at(const struct check *c, int64_t ruleset, int64_t generation)
{
	const struct change *last = NULL;

	for (size_t i = 0; i < c->change_count; i++) {
		if (c->changes[i].ruleset == ruleset && c->changes[i].number <= generation)
			last = &c->changes[i];
	}
	return last;
}

static bool stopped_after(const struct check *c, int64_t ruleset, int64_t generation)
{
	for (size_t i = 0; i < c->change_count; i++) {
		if (c->changes[i].ruleset == ruleset && c->changes[i].number > generation &&
		    !c->changes[i].live)
			return true;
	}
	return false;
}

static unsigned version_tokens(const struct check *c, const struct change *change)
{
	for (size_t i = 0; i < c->version_count; i++) {
		if (c->versions[i].ruleset == change->ruleset &&
		    c->versions[i].version == change->version)
			return c->versions[i].tokens;
	}
	return 0;
}

/* ---- The stream ---- */

static struct told *told_find(struct check *c, int64_t ruleset, const uint8_t *sha256,
			      unsigned token)
{
	for (size_t i = 0; i < c->told_count; i++) {
		struct told *t = &c->told[i];

		if (t->ruleset == ruleset && t->token == token &&
		    memcmp(t->sha256, sha256, SHA256_BYTES) == 0)
			return t;
	}
	return NULL;
}

/* Every hit that one analysis and one ruleset must have had is told. */
static void expect_hits(struct check *c, size_t sample, const struct hunted *h, int64_t ruleset)
{
	const struct change *change = change_at(c, ruleset, h->generation);
	unsigned both;

	if (!change || !change->live)
		return;
	both = version_tokens(c, change) & c->tokens[sample];
	for (unsigned token = 0; token < TOKENS; token++) {
		struct told *t;

		if (!(both & (1u << token)))
			continue;
		t = told_find(c, ruleset, h->sha256, token);
		if (t)
			t->explained = true;
		else if (!stopped_after(c, ruleset, h->generation))
			lost(c, "sample %u: hit_%u of ruleset %lld at generation %lld was not told",
			     c->numbers[sample], token, (long long)ruleset,
			     (long long)h->generation);
	}
}

static void check_hits(struct check *c)
{
	for (size_t i = 0; i < c->hunted_count; i++) {
		const struct hunted *h = &c->hunted[i];
		size_t sample = 0;

		while (sample < c->sample_count &&
		       memcmp(c->sha256[sample], h->sha256, SHA256_BYTES) != 0)
			sample++;
		if (sample == c->sample_count) {
			lost(c, "a sample that nobody sent");
			continue;
		}
		if (h->state != ANALYSIS_COMPLETED)
			lost(c, "an analysis of sample %u is left in state %lld",
			     c->numbers[sample], (long long)h->state);
		for (size_t k = 0; k < c->change_count; k++) {
			if (&c->changes[k] == change_at(c, c->changes[k].ruleset, INT64_MAX))
				expect_hits(c, sample, h, c->changes[k].ruleset);
		}
	}
}

static bool was_removed(const struct check *c, const uint8_t *sha256)
{
	for (size_t i = 0; i < c->sample_count; i++) {
		if (memcmp(c->sha256[i], sha256, SHA256_BYTES) == 0)
			return removal_of(c, c->numbers[i]) != NULL;
	}
	return false;
}

static void check_told(struct check *c)
{
	for (size_t i = 0; i < c->told_count; i++) {
		const struct told *t = &c->told[i];

		if (told_find(c, t->ruleset, t->sha256, t->token) != t)
			lost(c, "notification %lld tells again what another tells",
			     (long long)t->seq);
		if (t->seq != (int64_t)i + 1)
			lost(c, "notification %lld stands at %zu", (long long)t->seq, i + 1);
		/* Its analyses went with a removed sample. */
		if (!t->explained && !was_removed(c, t->sha256))
			lost(c, "notification %lld tells what no analysis found",
			     (long long)t->seq);
	}
}

static bool is_visible(struct check *c, const struct told *t)
{
	struct stream_entry entry;
	struct err err;

	return stream_find(c->svc, t->owner, t->seq, c->arena, &entry, &err) == 0;
}

/* Is it deleted for certain (1), for certain not (0), or was it only asked for (-1)? */
static int deletion_of(const struct check *c, const struct told *t)
{
	int ret = 0;

	for (int i = 0; i < atomic_load(&c->led->deletion_count); i++) {
		const struct led_deletion *d = &c->led->deletions[i];

		if (!atomic_load(&d->asked) || c->led->users[d->user] != t->owner)
			continue;
		if (!d->all && d->seq != t->seq)
			continue;
		if (atomic_load(&d->acked) && t->seq <= d->seq)
			return 1;
		ret = -1;
	}
	return ret;
}

static void check_deletions(struct check *c)
{
	for (size_t i = 0; i < c->told_count; i++) {
		const struct told *t = &c->told[i];
		int deleted = deletion_of(c, t);

		if (deleted == 1 && is_visible(c, t))
			lost(c, "deleted notification %lld is there", (long long)t->seq);
		if (deleted == 0 && !is_visible(c, t))
			lost(c, "notification %lld was never deleted, and is gone",
			     (long long)t->seq);
	}
	for (int i = 0; i < atomic_load(&c->led->deletion_count); i++) {
		const struct led_deletion *d = &c->led->deletions[i];

		if (atomic_load(&d->acked) && d->seq > (int64_t)c->told_count)
			lost(c, "notification %lld, deleted once, is given out again",
			     (long long)d->seq);
	}
}

/* ---- All of it ---- */

static void send_again(struct check *c)
{
	for (size_t i = 0; i < c->sample_count; i += AGAIN_EVERY) {
		const struct upload_options options = { .lane = LANE_API,
							.name = STR("again"),
							.corpus = STR("main"),
							.interface = "ingest",
							.bytes_max = LIMIT_SAMPLE_BYTES };
		struct upload_outcome outcome;
		struct sample s;
		struct err err;
		int fd;

		if (removal_of(c, c->numbers[i]))
			continue;
		s = sample_make(c->led, c->numbers[i]);
		fd = memfd_create("again", MFD_CLOEXEC);
		if (fd < 0 || write(fd, s.p, s.n) != (ssize_t)s.n || lseek(fd, 0, SEEK_SET) != 0)
			lost(c, "no memory file");
		else if (upload_fd(c->svc, &options, fd, &outcome, &err) != 0)
			lost(c, "sending sample %u again: %s", c->numbers[i], err.msg);
		close(fd);
		free(s.p);
	}
}

static void found_bad(const char *check, const char *what, void *arg)
{
	if (strcmp(check, "loose") != 0)
		lost(arg, "verify: %s: %s", check, what);
}

static void check_users(struct check *c)
{
	static const char *const names[LED_USERS] = { "ada", "ben", "eve" };

	for (int i = 0; i < atomic_load(&c->led->user_count); i++) {
		struct user u;
		struct err err;

		if (user_get(c->svc, str_of(names[i]), &u, &err) != 0 || u.id != c->led->users[i])
			lost(c, "user '%s' is gone", names[i]);
	}
}

/* Once nothing is left to do, each file that is there is in a segment, and no other. */
static void check_index(struct check *c)
{
	static const char missing[] =
		"SELECT count(*) FROM file f WHERE NOT EXISTS (SELECT 1 FROM segment s "
		"WHERE s.first_id <= f.id AND s.last_id >= f.id)";
	struct lock lock;
	struct cond never;

	lock_init(&lock, LOCK_TEST);
	cond_init(&never);
	for (int looks = 0; looks < INDEX_LOOKS && count_of(c, missing) != 0; looks++) {
		lock_take(&lock);
		(void)cond_wait_ms(&never, &lock, INDEX_LOOK_MS);
		lock_drop(&lock);
	}
	cond_release(&never);
	lock_release(&lock);
	if (metric_get(METRIC_index_lost_total) != 0)
		lost(c, "a segment with a row was not whole");
	if (count_of(c, missing) != 0)
		lost(c, "%lld files are in no segment", (long long)count_of(c, missing));
}

static void check_all(struct check *c)
{
	struct ledger *led = c->led;
	const struct verify_options plain = { .reclaim = false };
	struct task task = { .found = found_bad, .arg = c };
	struct verify_result verified;
	struct err err;

	for (int i = 0; i < atomic_load(&led->upload_count); i++) {
		if (atomic_load(&led->uploads[i].asked))
			(void)sample_index(c, led->uploads[i].sample);
	}
	service_drain(c->svc);
	send_again(c);
	service_drain(c->svc);
	read_tables(c);
	check_users(c);
	for (int i = 0; i < atomic_load(&led->upload_count); i++) {
		if (atomic_load(&led->uploads[i].acked))
			check_upload(c, &led->uploads[i]);
	}
	for (int i = 0; i < atomic_load(&led->removal_count); i++) {
		if (atomic_load(&led->removals[i].acked))
			check_removal(c, &led->removals[i]);
	}
	for (int i = 0; i < atomic_load(&led->ruleset_count); i++)
		check_ruleset(c, &led->rulesets[i]);
	check_hits(c);
	check_told(c);
	check_deletions(c);
	check_index(c);
	if (service_verify(c->svc, &plain, &task, &verified, &err) != 0)
		lost(c, "verify: %s", err.msg);
}

int check_main(const char *dir)
{
	struct check *c = mem_must_zalloc(sizeof *c);
	struct service_options options;
	char path[600], data[600];
	struct err err;
	unsigned losses;

	snprintf(path, sizeof path, "%s/why", dir);
	snprintf(data, sizeof data, "%s/durable", dir);
	c->why = fopen(path, "w");
	REQUIRE(c->why);
	c->led = ledger_map(dir);
	c->arena = arena_new("check", 64 << 20);
	options = service_options_default(data);
	options.workers = 1;
	options.disk_reserve_bytes = 0;
	options.unsafe_no_sync = true; /* nothing is lost any more */
	options.index.seconds = 0;
	options.index.merge_fan = 2;
	if (service_open(&c->svc, &options, &err) != 0) {
		lost(c, "%s", err.msg);
	} else {
		check_all(c);
		service_close(c->svc);
	}
	losses = c->losses;
	fclose(c->why);
	arena_free(c->arena);
	free(c);
	return losses > 0;
}
