#ifndef BENCH_LIVEHUNT_H
#define BENCH_LIVEHUNT_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/hash.h"
#include "base/thread.h"
#include "engine.h"
#include "service/files.h"

/* Parts of the Livehunt benchmark: its input, the plain side, weir's side, what is measured beside.
 */
enum {
	NAMES_MAX = 100000,
	PASSES_MAX = 50
};

struct list {
	char **names;
	size_t n;
};

struct bench {
	const char *rules_dir;
	const char *corpus_dir;
	const char *data_dir;
	unsigned passes;
	bool hunts_only; /* stop after the first of the measurements */
	unsigned threads;
	struct list rules;
	struct list corpus;
	uint64_t corpus_bytes;
};

/* ---- common.c ---- */
_Noreturn void die(const char *what, const struct err *err);
void must(int rc, const char *what, const struct err *err);
int64_t now_us(void);
double cpu_s(void); /* processor time of this process, without children */
struct list list_dir(const char *dir);
size_t read_whole(const char *path, uint8_t **buf, size_t *cap);
double median(double *v, size_t n);
double percentile(double *v, size_t n, double p); /* p in 0..1 */

/* ---- plain.c ---- */
struct engine_rules *plain_compile(const struct bench *b);
/* Scan every file once on b->threads threads; `whole` adds three hashes and libmagic. */
int64_t plain_pass(const struct bench *b, struct engine_rules *rules, bool whole, uint64_t *hits);

/* ---- weir.c ---- */
struct weir_pass {
	int64_t us;
	int64_t start_us; /* from opening to the live set */
	int64_t sightings;
	int64_t scan_us;
	int64_t commits;
};
struct service *weir_open(const struct bench *b, unsigned workers);
void weir_store(const struct bench *b);
double weir_rulesets(const struct bench *b); /* seconds it took */
void weir_queue(const struct bench *b);
struct weir_pass weir_hunt(const struct bench *b);
/* From the first upload to the last commit, with everybody's rules live; nothing is stored before.
 */
struct weir_pass weir_whole_path(const struct bench *b);
/* Remove every file and notification, so that the next pass stores them anew. */
void weir_empty(const struct bench *b);

/* Uploads and edits under way. */
struct flight {
	struct lock lock;
	struct cond moved;
	size_t under_way;
	size_t failed;
};
void flight_init(struct flight *f);
void flight_begin(struct flight *f, size_t max);
void flight_end(struct flight *f, int rc);
void flight_wait(struct flight *f, const char *what);
void weir_upload(struct service *svc, const uint8_t *p, size_t n, enum write_lane lane,
		 struct flight *f);

/* ---- beside.c ---- */
/* Edits while all rules are live: time to the answer and to the new live set, in ms. */
void beside_edits(const struct bench *b, double *ret_answer_p50, double *ret_live_p50,
		  double *ret_live_p99);
/* Small uploads by API while a bulk ingest runs: time from the answer to the notification, in ms.
 */
void beside_told(const struct bench *b, double *ret_p50, double *ret_p99, double *ret_bulk_rate);
/* Proportional set size of this process and its children, MB: the most that beside_told saw. */
double beside_peak_mb(void);
#endif
