#include "service_ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/thread.h"
#include "service/files.h"
#include "service/rulesets.h"
#include "service/stream.h"
#include "service/users.h"
#include "simdisk.h"

/*
 * A service under clients, on a disk that loses power. It goes on for a while
 * without: what it acknowledges then counts too. The process ends by itself when
 * a commit's outcome is unknown; then too what survived is written first.
 */
enum {
	UPLOADERS = 4,
	UPLOADS_EACH = 14,
	EDITORS = 2,
	RULESETS_EACH = 3,
	OPS_EACH = 5,
	PIECE = 64 * 1024,
	LOOK_MS = 5, /* between two looks at the queue, which gives no event */
};

static struct work {
	struct simdisk *disk;
	struct ledger *led;
	struct service *svc;
	atomic_flag ended;
} work;

/* ---- The end ---- */

void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

/* Write what survived and leave, whoever of the threads comes first. */
__attribute__((noreturn)) static void power_is_gone(int status)
{
	struct err err;

	if (atomic_flag_test_and_set(&work.ended)) {
		for (;;)
			pause();
	}
	atomic_store(&work.led->syncs, simdisk_syncs(work.disk));
	if (simdisk_crash_image(work.disk, &err) != 0) {
		fprintf(stderr, "no image: %s\n", err.msg);
		status = 3;
	}
	__real__exit(status);
}

/* The writer's last resort; a power cut takes the disk's view along. */
void __wrap__exit(int status)
{
	if (work.disk)
		power_is_gone(status);
	__real__exit(status);
}

/* ---- Waiting for answers ---- */

struct answer {
	struct lock lock;
	struct cond given;
	bool is_given;
	int rc;
};

static void answer_init(struct answer *a)
{
	*a = (struct answer){ .rc = 0 };
	lock_init(&a->lock, LOCK_TEST);
	cond_init(&a->given);
}

static void answer_give(struct answer *a, int rc)
{
	lock_take(&a->lock);
	a->rc = rc;
	a->is_given = true;
	cond_signal(&a->given);
	lock_drop(&a->lock);
}

static int answer_wait(struct answer *a)
{
	lock_take(&a->lock);
	while (!a->is_given)
		cond_wait(&a->given, &a->lock);
	lock_drop(&a->lock);
	cond_release(&a->given);
	lock_release(&a->lock);
	return a->rc;
}

/* ---- Uploads ---- */

struct upload_call {
	struct answer answer;
	struct led_upload *entry;
};

static void upload_answered(const struct upload_outcome *outcome, int rc, const struct err *err,
			    void *arg)
{
	struct upload_call *call = arg;

	(void)err;
	if (rc == 0) {
		call->entry->intake = outcome->intake;
		call->entry->generation = atomic_load(&work.led->generation);
		atomic_store(&call->entry->acked, 1);
	}
	answer_give(&call->answer, rc);
}

static int send_pieces(struct upload *u, const struct sample *s, struct err *err)
{
	for (size_t i = 0; i < s->n; i += PIECE)
		TRY(upload_add(u, s->p + i, s->n - i < PIECE ? s->n - i : PIECE, err));
	return 0;
}

static int send_sample(uint32_t number, int user)
{
	const struct upload_options options = { .user_id = work.led->users[user],
						.lane = number % 3 ? LANE_API : LANE_BULK,
						.name = STR("sample"),
						.corpus = STR("main"),
						.interface = "api",
						.bytes_max = LIMIT_SAMPLE_BYTES };
	int at = atomic_fetch_add(&work.led->upload_count, 1);
	struct upload_call call;
	struct sample s = sample_make(work.led, number);
	struct upload *u;
	struct err err;
	int rc;

	REQUIRE(at < LED_UPLOADS);
	call.entry = &work.led->uploads[at];
	call.entry->sample = number;
	atomic_store(&call.entry->asked, 1);
	answer_init(&call.answer);
	rc = upload_new(&u, work.svc, &options, &err);
	if (rc == 0) {
		rc = send_pieces(u, &s, &err);
		if (rc)
			upload_free(u);
		else
			rc = upload_finish(u, upload_answered, &call, &err);
	}
	if (rc == 0)
		rc = answer_wait(&call.answer);
	free(s.p);
	return rc;
}

static int remove_sample(uint32_t number)
{
	struct led_removal *entry =
		&work.led->removals[atomic_fetch_add(&work.led->removal_count, 1)];
	AUTO(arena_drop) struct arena *arena = arena_new("removal", 1 << 20);
	struct sample s = sample_make(work.led, number);
	char hex[2 * SHA256_BYTES + 1];
	uint8_t sha256[SHA256_BYTES];
	struct file_info file;
	struct err err;

	sha256_of(s.p, s.n, sha256);
	free(s.p);
	hex_encode(sha256, sizeof sha256, hex);
	TRY(file_get(work.svc, str_of(hex), arena, &file, &err));
	entry->sample = number;
	entry->pack = file.at.pack;
	entry->offset = file.at.offset;
	entry->len = file.at.len;
	atomic_store(&entry->asked, 1);
	TRY(file_remove(work.svc, str_of(hex), NULL, NULL, &err));
	atomic_store(&entry->acked, 1);
	return 0;
}

static void uploader(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	struct rand_seq r = { work.led->seed + 77 * me };
	int rc = 0;

	for (uint32_t i = 0; i < UPLOADS_EACH && rc == 0; i++) {
		/* A quarter is known to everybody, so that uploads of one sample meet. */
		bool shared = rand_below(&r, 4) == 0 && i != 4;
		uint32_t number = shared ? 5000 + (uint32_t)rand_below(&r, 4) : 100 * me + i;

		if (i == 5)
			number = SAMPLE_KIND_STREAM + me % 3;
		if (i == 9 && me == 1)
			number = SAMPLE_KIND_BIG;
		rc = send_sample(number, (int)(me % LED_USERS));
		/* Never sent by anybody else, or again. */
		if (rc == 0 && me < 2 && i == 4)
			rc = remove_sample(number);
		if (rc == 0 && me == 1 && i == 9)
			rc = work.led->seed % 2 ? remove_sample(number) : 0;
	}
}

/* ---- Rulesets ---- */

struct ruleset_call {
	struct answer answer;
	struct led_ruleset *entry;
};

static void note_generation(int64_t generation)
{
	int64_t seen = atomic_load(&work.led->generation);

	while (seen < generation &&
	       !atomic_compare_exchange_weak(&work.led->generation, &seen, generation)) {
	}
}

static void ruleset_answered(const struct ruleset *r, int rc, const struct err *err,
			     struct str messages, void *arg)
{
	struct ruleset_call *call = arg;

	(void)err;
	(void)messages;
	if (rc == 0) {
		struct led_op *op = &call->entry->ops[atomic_load(&call->entry->acked)];

		call->entry->id = r->id;
		op->generation = r->generation;
		note_generation(r->generation);
		atomic_fetch_add(&call->entry->acked, 1);
	}
	answer_give(&call->answer, rc);
}

/* The next change of this ruleset, to what `op` says. */
static int change_ruleset(struct led_ruleset *entry, struct led_op op)
{
	int64_t user = work.led->users[entry->user];
	int at = atomic_load(&entry->asked);
	struct ruleset_change change = { .set = RULESET_ENABLED | RULESET_RULES };
	struct ruleset_call call = { .entry = entry };
	char rules[1024], name[32];
	struct err err;
	int rc;

	REQUIRE(at < LED_OPS && at == atomic_load(&entry->acked));
	rules_make(op.tokens, rules);
	snprintf(name, sizeof name, "change %d", at);
	change.rules = str_of(rules);
	change.enabled = op.enabled;
	change.name = str_of(name);
	change.set |= RULESET_NAME;
	entry->ops[at] = op;
	atomic_store(&entry->asked, at + 1);
	answer_init(&call.answer);
	if (at == 0)
		rc = ruleset_create(work.svc, user, &change, ruleset_answered, &call, &err);
	else if (op.deleted)
		rc = ruleset_delete(work.svc, user, entry->id, NULL, ruleset_answered, &call, &err);
	else
		rc = ruleset_update(work.svc, user, entry->id, &change, ruleset_answered, &call,
				    &err);
	return rc ? rc : answer_wait(&call.answer);
}

static struct led_ruleset *new_ruleset(int user)
{
	int at = atomic_fetch_add(&work.led->ruleset_count, 1);

	REQUIRE(at < LED_RULESETS);
	work.led->rulesets[at].user = user;
	return &work.led->rulesets[at];
}

static void editor(void *arg)
{
	int me = (int)(uintptr_t)arg;
	struct rand_seq r = { work.led->seed * 31 + (uint64_t)me };
	struct led_ruleset *mine[RULESETS_EACH];
	int rc = 0;

	for (int i = 0; i < RULESETS_EACH; i++)
		mine[i] = new_ruleset(me);
	for (int i = 0; i < RULESETS_EACH * OPS_EACH && rc == 0; i++) {
		struct led_ruleset *one = mine[i % RULESETS_EACH];
		int last = i / RULESETS_EACH;
		struct led_op op = { .tokens = 1u << rand_below(&r, TOKENS), .enabled = true };

		if (last > 0 && rand_below(&r, 3) == 0)
			op.tokens |= one->ops[last - 1].tokens;
		op.enabled = last == 0 || rand_below(&r, 4) != 0;
		if (last == OPS_EACH - 1 && i % RULESETS_EACH == 0) {
			op = one->ops[last - 1];
			op.deleted = true;
		}
		rc = change_ruleset(one, op);
	}
}

/* ---- Deletions in the stream ---- */

static int64_t query_i64(const char *text, int64_t value)
{
	struct sql_query q = { 0 };
	struct sql_conn *conn;
	int64_t ret = -1;
	struct err err;
	bool row;

	if (sql_reader_take(&conn, service_db(work.svc), &err) != 0)
		return -1;
	if (sql_start(&q, conn, text, &err, SQL_I64(value)) == 0 && sql_next(&q, &row, &err) == 0 &&
	    row)
		ret = sql_i64(&q, 0);
	sql_end(&q);
	sql_reader_give(service_db(work.svc), conn);
	return ret;
}

static struct led_deletion *new_deletion(int user, int64_t seq, bool all)
{
	struct led_deletion *entry =
		&work.led->deletions[atomic_fetch_add(&work.led->deletion_count, 1)];

	REQUIRE(entry < work.led->deletions + LED_DELETIONS);
	entry->user = user;
	entry->seq = seq;
	entry->all = all;
	atomic_store(&entry->asked, 1);
	return entry;
}

/* One of a user's notifications after the other; false: the power is gone. */
static bool delete_some(int user, int count)
{
	int64_t seq = 0;
	struct err err;

	for (int i = 0; i < count; i++) {
		struct led_deletion *entry;

		seq = query_i64("SELECT min(seq) FROM sighting WHERE state = 0 AND seq > ?1", seq);
		if (seq <= 0)
			return seq == 0;
		if (query_i64("SELECT owner_id FROM sighting WHERE seq = ?1", seq) !=
		    work.led->users[user])
			continue;
		entry = new_deletion(user, seq, false);
		if (stream_remove(work.svc, work.led->users[user], seq, NULL, &err) != 0)
			return false;
		atomic_store(&entry->acked, 1);
	}
	return true;
}

static void delete_all(int user)
{
	int64_t owner = work.led->users[user];
	int64_t seq =
		query_i64("SELECT coalesce(max(seq), 0) FROM sighting WHERE owner_id = ?1", owner);
	struct led_deletion *entry;
	struct err err;

	if (seq <= 0)
		return;
	entry = new_deletion(user, seq, true);
	if (stream_remove_matching(work.svc, owner, STR(""), NULL, &err) == 0)
		atomic_store(&entry->acked, 1);
}

/* Until nothing is queued; false: the power is gone. */
static bool wait_for_hunts(void)
{
	struct lock lock;
	struct cond never;
	bool on;

	lock_init(&lock, LOCK_TEST);
	cond_init(&never);
	while ((on = !simdisk_is_off(work.disk)) &&
	       query_i64("SELECT count(*) FROM analysis WHERE state < 2 AND id > ?1", 0) != 0) {
		lock_take(&lock);
		(void)cond_wait_ms(&never, &lock, LOOK_MS);
		lock_drop(&lock);
	}
	cond_release(&never);
	lock_release(&lock);
	return on;
}

static void deleter(void *arg)
{
	(void)arg;
	if (!wait_for_hunts() || !delete_some(0, 6))
		return;
	delete_all(1);
}

/* ---- All of it ---- */

static void run_all(void (*const fns[])(void *), const int *args, size_t n)
{
	struct thread threads[16] = { 0 };
	struct err err;

	for (size_t i = 0; i < n; i++)
		REQUIRE(thread_start(&threads[i], "client", fns[i], (void *)(uintptr_t)args[i],
				     &err) == 0);
	for (size_t i = 0; i < n; i++)
		thread_join(&threads[i]);
}

static int make_users(void)
{
	static const char *const names[LED_USERS] = { "ada", "ben", "eve" };
	struct err err;

	for (int i = 0; i < LED_USERS; i++) {
		char key[USER_KEY_CHARS + 1];
		struct user u;

		TRY(user_add(work.svc, str_of(names[i]), ROLE_HUNTER, STR(""), NULL, key, &err));
		TRY(user_get(work.svc, str_of(names[i]), &u, &err));
		work.led->users[i] = u.id;
		atomic_fetch_add(&work.led->user_count, 1);
	}
	return 0;
}

static int work_on(void)
{
	static void (*const first[])(void *) = { uploader, uploader, uploader,
						 uploader, editor,   editor };
	static const int first_args[] = { 0, 1, 2, 3, 0, 1 };
	static void (*const second[])(void *) = { deleter, uploader, uploader };
	static const int second_args[] = { 0, UPLOADERS, UPLOADERS + 1 };

	TRY(make_users());
	TRY(change_ruleset(new_ruleset(2), (struct led_op){ ALL_TOKENS, true, false, 0 }));
	run_all(first, first_args, 6);
	if (!wait_for_hunts())
		return 0;
	run_all(second, second_args, 3);
	return 0;
}

int work_main(const char *dir, const struct work_options *options)
{
	struct ledger *led = ledger_map(dir);
	const struct simdisk_options disk = { .seed = led->seed * 1000003 + options->crash_at_sync,
					      .crash_at_sync = options->crash_at_sync,
					      .no_sync = options->no_sync };
	struct service_options service;
	struct simdisk *d;
	struct err err;

	if (simdisk_new(&d, dir, &disk, &err) != 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 3;
	}
	work.led = led;
	work.disk = d;
	service = service_options_default(simdisk_live(d));
	service.io = simdisk_io(d);
	service.vfs = simdisk_vfs(d);
	service.workers = 1;
	service.disk_reserve_bytes = 0;
	service.unsafe_no_sync = options->unsafe_no_sync;
	/* The index is written and merged all the while. */
	service.index.seconds = 0;
	service.index.merge_fan = 2;
	if (service_open(&work.svc, &service, &err) == 0) {
		/* A failure is what clients see of the power cut: the ledger says what they got. */
		(void)!work_on();
		if (led->seed % 2)
			service_close(work.svc);
	} else if (!simdisk_is_off(d)) {
		fprintf(stderr, "%s\n", err.msg);
		return 3;
	}
	power_is_gone(0);
}
