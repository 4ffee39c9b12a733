#ifndef RETROHUNT_WORLD_H
#define RETROHUNT_WORLD_H
#include "accounts_world.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "retrohunt_internal.h"
#include "service/files.h"

/* Jobs by the service's own calls, at a time that stands still. */

enum {
	FILES = 40,
	LIST_ARENA_MAX = 64 << 20
};

struct fixture {
	struct world *w;
	char key[USER_KEY_CHARS + 1];
	struct user ann; /* as of this service */
	struct arena *arena;
};

static inline struct fixture *fixture_of(uint32_t workers)
{
	struct fixture *f = mem_must_zalloc(sizeof *f);
	struct err err;

	f->w = world_new();
	f->w->options.workers = workers;
	f->w->options.retrohunt_workers = 2;
	f->w->options.index.on = false; /* the index is tested from outside */
	world_open(f->w);
	CHECK_OK(user_add(f->w->svc, STR("ann.b"), ROLE_HUNTER, STR(""), NULL, f->key, &err), &err);
	CHECK_OK(user_authenticate(f->w->svc, str_of(f->key), &f->ann, &err), &err);
	f->arena = arena_new("test", LIST_ARENA_MAX);
	return f;
}

static inline int setup(void **state)
{
	*state = fixture_of(1);
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	arena_free(f->arena);
	world_free(f->w);
	free(f);
	return 0;
}

static inline void put(struct fixture *f, const char *text, unsigned n)
{
	const struct upload_options options = { .lane = LANE_API,
						.name = STR("a file"),
						.corpus = STR("main"),
						.interface = "api",
						.bytes_max = 1 << 20 };
	struct upload_outcome outcome;
	char data[128];
	struct err err;
	int fd = memfd_create("sample", 0), len = snprintf(data, sizeof data, "%s %u", text, n);

	assert_true(fd >= 0 && write(fd, data, (size_t)len) == len && lseek(fd, 0, SEEK_SET) == 0);
	CHECK_OK(upload_fd(f->w->svc, &options, fd, &outcome, &err), &err);
	close(fd);
}

static inline void put_many(struct fixture *f, const char *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(f, text, i);
}

/* ---- Jobs that are waited for ---- */

struct outcome {
	struct lock lock;
	struct cond over;
	bool is_over;
	int rc;
	struct err err;
	char name[RETROHUNT_NAME_BYTES];
	int64_t ruleset_id;
};

static inline void created(const struct retrohunt_job *job, int rc, const struct err *err,
			   struct str messages, void *arg)
{
	struct outcome *o = arg;

	(void)messages;
	lock_take(&o->lock);
	o->rc = rc;
	if (rc)
		o->err = *err;
	else
		memcpy(o->name, job->name, sizeof o->name);
	o->ruleset_id = rc ? 0 : job->ruleset_id;
	o->is_over = true;
	cond_signal(&o->over);
	lock_drop(&o->lock);
}

static inline int create(struct fixture *f, const struct retrohunt_new *ask, struct outcome *o)
{
	int rc;

	*o = (struct outcome){ .is_over = false };
	lock_init(&o->lock, LOCK_TEST);
	cond_init(&o->over);
	rc = retrohunt_create(f->w->svc, &f->ann, ask, created, o, &o->err);
	lock_take(&o->lock);
	while (rc == 0 && !o->is_over)
		cond_wait(&o->over, &o->lock);
	lock_drop(&o->lock);
	cond_release(&o->over);
	lock_release(&o->lock);
	return rc ? rc : o->rc;
}

static inline struct retrohunt_job look(struct fixture *f, const char *name)
{
	struct retrohunt_job job;
	struct err err;

	CHECK_OK(retrohunt_get(f->w->svc, f->ann.id, str_of(name), f->arena, &job, &err), &err);
	return job;
}

#define RULE(text) "rule found { strings: $a = \"" text "\" condition: $a }"

static inline struct retrohunt_job run(struct fixture *f, struct retrohunt_new ask)
{
	struct outcome o;

	CHECK_OK(create(f, &ask, &o), &o.err);
	retrohunt_drain(f->w->svc);
	return look(f, o.name);
}

static inline void reopen(struct fixture *f, uint32_t workers)
{
	struct err err;

	service_close(f->w->svc);
	f->w->options.workers = workers;
	world_open(f->w);
	CHECK_OK(user_authenticate(f->w->svc, str_of(f->key), &f->ann, &err), &err);
}
#endif
