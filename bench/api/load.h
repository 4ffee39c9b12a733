#ifndef BENCH_API_LOAD_H
#define BENCH_API_LOAD_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * A load generator: one thread, keep-alive connections to 127.0.0.1, one request
 * under way on each. It does as little as a client can (one send and one recv a
 * request), and says what it took of its processor, so that one sees whether the
 * server was waited for or the client.
 */
struct load {
	uint16_t port;
	unsigned connections;
	uint32_t ms;     /* how long new requests are begun */
	int cpu;         /* run there; -1: anywhere */
	unsigned status; /* what every answer must have */
	/* The next request, whole, appended to an empty buffer. */
	void (*request)(struct buf *out, void *arg);
	void *arg;
};

struct load_result {
	uint64_t answers;
	double seconds;   /* from the first request to the last answer */
	double client_s;  /* processor time of the generator */
	double process_s; /* of everything else in this process: the server */
	double p50_us;    /* from the first byte sent to the last one received */
	double p99_us;
	uint64_t body_bytes; /* of the last answer */
};

/* Ends the program on any failure: a benchmark of errors says nothing. */
struct load_result load_run(const struct load *load);

/* One connection, one request at a time, on the calling thread. */
struct client {
	int fd;
	struct buf in;
};
void client_open(struct client *c, uint16_t port);
void client_close(struct client *c);
/* Sends and waits for the whole answer. The body lives until the next call. */
struct str client_ask(struct client *c, struct str request, unsigned status);

/* Sorts; q from 0 to 1. */
double quantile(double *v, size_t n, double q);
double process_cpu_s(void);
double thread_cpu_s(void);
int64_t now_us(void);
_Noreturn void die(const char *what, const char *why);
#endif
