#include "service/task.h"
#include "service_internal.h"

void stored_init(struct stored_holds *s)
{
	lock_init(&s->lock, LOCK_STORED);
	cond_init(&s->left);
}

void stored_release(struct stored_holds *s)
{
	REQUIRE(!s->first);
	cond_release(&s->left);
	lock_release(&s->lock);
}

void stored_enter(struct service *svc, struct stored_hold *h)
{
	struct stored_holds *s = &svc->stored;

	if (h->number)
		return;
	lock_take(&s->lock);
	h->number = ++s->number;
	h->prev = s->last;
	h->next = NULL;
	*(s->last ? &s->last->next : &s->first) = h;
	s->last = h;
	lock_drop(&s->lock);
}

void stored_leave(struct service *svc, struct stored_hold *h)
{
	struct stored_holds *s = &svc->stored;

	if (!h->number)
		return;
	lock_take(&s->lock);
	*(h->prev ? &h->prev->next : &s->first) = h->next;
	*(h->next ? &h->next->prev : &s->last) = h->prev;
	h->number = 0;
	cond_broadcast(&s->left);
	lock_drop(&s->lock);
}

bool uploads_wait(struct service *svc, struct task *task)
{
	struct stored_holds *s = &svc->stored;
	uint64_t until;
	bool waits = true;

	lock_take(&s->lock);
	until = s->number;
	lock_drop(&s->lock);
	while (waits) {
		lock_take(&s->lock);
		/* They stand in order: the first is the oldest. */
		waits = s->first && s->first->number <= until;
		if (waits)
			(void)cond_wait_ms(&s->left, &s->lock, TASK_LOOK_MS);
		lock_drop(&s->lock);
		if (!task_goes_on(task, 0))
			return false;
	}
	return true;
}

void stored_garbage_add(struct service *svc, const struct pack_locator *at)
{
	struct stored_holds *s = &svc->stored;

	lock_take(&s->lock);
	if (s->garbage_n < STORED_GARBAGE_MAX)
		s->garbage[s->garbage_n++] = *at;
	lock_drop(&s->lock);
}

bool stored_garbage_take(struct service *svc, struct pack_locator *ret)
{
	struct stored_holds *s = &svc->stored;
	bool any;

	lock_take(&s->lock);
	any = s->garbage_n > 0;
	if (any)
		*ret = s->garbage[--s->garbage_n];
	lock_drop(&s->lock);
	return any;
}
