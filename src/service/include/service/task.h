#ifndef SERVICE_TASK_H
#define SERVICE_TASK_H
#include <stdbool.h>
#include <stdint.h>

/*
 * Long work that somebody watches: how far it is, what it found, whether it goes
 * on, how fast it may. Zeroed members mean: nobody looks, never stop, no limit.
 *
 * Threads: the callbacks run on the thread that does the work, at most every
 * TASK_LOOK_MS but for findings.
 */
enum {
	TASK_LOOK_MS = 100
};

struct task {
	/* `step` says what is done now; done and all are bytes, or things where the step says so.
	 */
	void (*progress)(const char *step, uint64_t done, uint64_t all, void *arg);
	/* `check` is the static name of what was checked, `what` one line for people. */
	void (*found)(const char *check, const char *what, void *arg);
	bool (*stops)(void *arg);
	void *arg;
	uint64_t rate; /* bytes a second, on average; 0: as fast as it goes */

	uint64_t findings; /* how many there were */
	/* the work's */
	char step[64];
	uint64_t done, all;
	int64_t looked_us;
	int64_t paced_us; /* when the bytes so far may have been read, by the rate */
	bool stopped;
};

/* A step of so much begins. */
void task_step(struct task *t, const char *step, uint64_t all);
/*
 * So many more are done. Waits where the rate asks for it. false: stop now, with
 * ERR_CLOSED.
 */
bool task_goes_on(struct task *t, uint64_t done);
void task_found(struct task *t, const char *check, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#endif
