#include "service/task.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

enum {
	FOUND_TEXT_MAX = 1024,
	US = 1000000,
	WAIT_MS_MAX = 100, /* then whether to stop is asked again */
};

static int64_t now_us(void)
{
	return clock_mono_us(clock_system());
}

static void look(struct task *t, int64_t now)
{
	t->looked_us = now;
	if (t->progress)
		t->progress(t->step, t->done, t->all, t->arg);
	t->stopped = t->stopped || (t->stops && t->stops(t->arg));
}

void task_step(struct task *t, const char *step, uint64_t all)
{
	snprintf(t->step, sizeof t->step, "%s", step);
	t->done = 0;
	t->all = all;
	look(t, now_us());
}

/* Time not used is not saved up: a pause must not be followed by a burst. */
static void pace(struct task *t, uint64_t bytes)
{
	int64_t now = now_us();

	if (t->paced_us < now - US)
		t->paced_us = now - US;
	t->paced_us += (int64_t)((double)bytes / (double)t->rate * US);
	for (; t->paced_us > now && !t->stopped; now = now_us()) {
		int64_t ms = (t->paced_us - now) / 1000;

		(void)poll(NULL, 0, (int)(ms < WAIT_MS_MAX ? ms + 1 : WAIT_MS_MAX));
		look(t, now);
	}
}

bool task_goes_on(struct task *t, uint64_t done)
{
	int64_t now;

	t->done += done;
	if (t->rate && done)
		pace(t, done);
	now = now_us();
	if (now - t->looked_us >= TASK_LOOK_MS * 1000)
		look(t, now);
	return !t->stopped;
}

void task_found(struct task *t, const char *check, const char *fmt, ...)
{
	char text[FOUND_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	t->findings++;
	if (t->found)
		t->found(check, text, t->arg);
}
