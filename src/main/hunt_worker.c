#include "hunt_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/json_view.h"
#include "base/mem.h"
#include "scan/filetype.h"
#include "scan/vt_data.h"

enum {
	UNDER_WAY = 2, /* batches: a child never waits for the next */
	PIECE_BYTES = 256 * 1024,
	FACT_BYTES_MAX = 4096,
	TRIES = 3, /* of a file alone, where a child was killed by somebody else */
};

struct worker {
	struct hunt_dir *h;
	struct scan_child *child; /* NULL: none at the moment */
	struct hunt_batch *under_way[UNDER_WAY];
	unsigned count;
	struct hunt_batch *again; /* to be sent once more, before any new one */
	struct scan_found found;
	struct scan_result result;
	struct hasher *hasher;
	char *piece;
	struct hunt_result *results; /* room for one file's */
	size_t results_cap;
};

/* ---- One file is over ---- */

static bool stopped(struct hunt_dir *h)
{
	lock_take(&h->lock);
	bool is = h->stopped;

	lock_drop(&h->lock);
	return is;
}

static void close_file(struct hunt_file *f)
{
	close(f->fd);
	f->fd = -1;
}

static void file_failed(struct worker *w, struct hunt_file *f, const char *reason)
{
	hunt_dir_failed(w->h, f->path, reason);
	close_file(f);
}

static int hash(struct worker *w, const struct hunt_file *f, struct hashes *ret, struct err *err)
{
	uint64_t at = 0;
	ssize_t n;

	hasher_reset(w->hasher);
	while ((n = pread(f->fd, w->piece, PIECE_BYTES, (off_t)at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot be read");
		hasher_add(w->hasher, w->piece, (size_t)n);
		at += (uint64_t)n;
	}
	hasher_end(w->hasher, ret);
	return 0;
}

static int by_rule(const void *a, const void *b)
{
	const struct scan_hit *x = a, *y = b;

	return (x->rule > y->rule) - (x->rule < y->rule);
}

static struct hunt_result *results_room(struct worker *w, size_t n)
{
	if (n > w->results_cap) {
		void *room = w->results;

		mem_must_grow(&room, n, sizeof *w->results);
		w->results = room;
		w->results_cap = n;
	}
	return w->results;
}

/* The file was scanned, and this is what it hit. */
static void file_scanned(struct worker *w, struct hunt_file *f, struct scan_hit *hits, size_t n)
{
	struct hunt_dir *h = w->h;
	struct hunt_result *results = results_room(w, n);
	char sha256[2 * SHA256_BYTES + 1] = "";
	struct hashes hashes;
	struct err err;

	if (n > 0)
		qsort(hits, n, sizeof *hits, by_rule);
	if (n > 0 && h->wants_hashes) {
		if (hash(w, f, &hashes, &err) != 0) {
			file_failed(w, f, err.msg);
			return;
		}
		hex_encode(hashes.sha256, SHA256_BYTES, sha256);
	}
	for (size_t i = 0; i < n; i++) {
		results[i] = (struct hunt_result){ .rule = scan_rules_at(h->rules, hits[i].rule),
						   .path = f->path,
						   .size = f->bytes,
						   .hit = &hits[i] };
		results[i].rule_name = results[i].rule->name;
		memcpy(results[i].sha256, sha256, sizeof sha256);
	}
	lock_take(&h->lock);
	h->numbers.files++;
	h->numbers.bytes += f->bytes;
	h->numbers.matches += n;
	h->matching_files += n > 0;
	/* The same bytes under another name are the same hash. */
	if (n > 0 && h->view->format == HUNT_HASHES && !hunt_hashes_add(&h->told, hashes.sha256))
		n = 0;
	hunt_view_results(h->view, results, n);
	lock_drop(&h->lock);
	close_file(f);
}

/* ---- Children ---- */

static int child_ready(struct worker *w, struct err *err)
{
	if (w->child && !scan_child_is_dead(w->child) && !scan_child_is_used_up(w->child))
		return 0;
	scan_child_give(w->h->pool, w->child);
	w->child = NULL;
	TRY(scan_child_take(&w->child, w->h->pool, err));
	if (scan_loaded(w->child, HUNT_SLOT) == w->h->rules)
		return 0;
	return scan_load(w->child, HUNT_SLOT, w->h->rules, err);
}

/* Without a child nothing goes on; false: the hunt is stopped. */
static bool child_or_stop(struct worker *w)
{
	struct err err;

	for (unsigned i = 0; i < TRIES; i++) {
		if (child_ready(w, &err) == 0)
			return true;
		if (stopped(w->h))
			return false;
	}
	hunt_dir_stop(w->h, err.msg);
	return false;
}

/* ---- One file alone ---- */

static struct str fact_text(struct buf *room, struct str object, struct str member)
{
	buf_reset(room);
	json_view_text(json_view_find(object, member), room);
	return buf_str(room);
}

/* What rules may ask of a file that nobody has stored. */
static int scan_with_facts(struct worker *w, struct hunt_file *f, const struct scan_sample *sample,
			   struct err *err)
{
	AUTO(buf_release) struct buf vt = BUF_INIT(VT_DATA_BYTES_MAX);
	AUTO(buf_release) struct buf tags = BUF_INIT(FACT_BYTES_MAX);
	AUTO(buf_release) struct buf ssdeep = BUF_INIT(FACT_BYTES_MAX);
	AUTO(buf_release) struct buf imphash = BUF_INIT(FACT_BYTES_MAX);
	AUTO(buf_release) struct buf tlsh = BUF_INIT(FACT_BYTES_MAX);
	AUTO(scan_identity_release) struct scan_identity id = { 0 };
	char sha256[2 * SHA256_BYTES + 1], sha1[2 * SHA1_BYTES + 1], md5[2 * MD5_BYTES + 1];
	const char *slash = strrchr(f->path, '/');
	struct hashes hashes;

	TRY(hash(w, f, &hashes, err));
	hex_encode(hashes.sha256, SHA256_BYTES, sha256);
	hex_encode(hashes.sha1, SHA1_BYTES, sha1);
	hex_encode(hashes.md5, MD5_BYTES, md5);
	TRY(scan_identify(w->child, sample, &id, err));

	const struct filetype *type = filetype_by_id(id.file_type);

	buf_addf(&tags, "%s%s" STR_FMT, type->tag, id.tags.n ? " " : "", STR_ARG(id.tags));
	struct scan_facts facts = {
		.file_name = str_of(slash ? slash + 1 : f->path),
		.file_type = str_of(type->tags),
		.sha256 = str_of(sha256),
		.sha1 = str_of(sha1),
		.md5 = str_of(md5),
		.tags = buf_str(&tags),
		.ssdeep = fact_text(&ssdeep, id.facts, STR("ssdeep")),
		.imphash = fact_text(&imphash, json_view_find(id.facts, STR("pe_info")),
				     STR("imphash")),
	};
	const struct vt_data known = { .sha256 = facts.sha256,
				       .sha1 = facts.sha1,
				       .md5 = facts.md5,
				       .ssdeep = facts.ssdeep,
				       .imphash = facts.imphash,
				       .tlsh = fact_text(&tlsh, id.facts, STR("tlsh")),
				       .file_name = facts.file_name,
				       .magic = id.magic,
				       .file_type = id.file_type,
				       .file_size = f->bytes,
				       .tags = facts.tags,
				       .exiftool = json_view_find(id.facts, STR("exiftool")) };

	TRY(vt_data_encode(&known, &vt, err));
	facts.vt = buf_str(&vt);
	return scan_send(w->child, sample, &facts, 1u << HUNT_SLOT, err);
}

/* Returns true when the file is over; false: the child was killed by somebody else. */
static bool try_alone(struct worker *w, struct hunt_file *f)
{
	static const struct scan_facts nothing;
	struct scan_sample sample = { f->fd, 0, f->bytes };
	struct err err = { 0 };
	int rc = w->h->asks_facts ? scan_with_facts(w, f, &sample, &err)
				  : scan_send(w->child, &sample, &nothing, 1u << HUNT_SLOT, &err);

	if (rc == 0)
		rc = scan_recv(w->child, &w->result, &err);
	if (rc == 0) {
		file_scanned(w, f, w->result.hits, w->result.hit_count);
		return true;
	}
	if (scan_child_is_dead(w->child) && scan_child_is_struck(w->child))
		return false;
	if (scan_child_is_dead(w->child))
		(void)err_set(&err, ERR_DIED, "the scanner: %s", scan_child_cause(w->child));
	file_failed(w, f, err.msg);
	return true;
}

static void file_alone(struct worker *w, struct hunt_file *f)
{
	for (unsigned i = 0; i < TRIES; i++) {
		if (stopped(w->h) || !child_or_stop(w))
			return;
		if (try_alone(w, f))
			return;
	}
	if (!stopped(w->h))
		file_failed(w, f, "the scanner was killed from outside, again and again");
}

/* ---- Batches ---- */

/* Wait for one if `wait`; NULL: there is none now, or none any more. */
static struct hunt_batch *pop(struct worker *w, bool wait)
{
	struct hunt_dir *h = w->h;
	struct hunt_batch *b;

	lock_take(&h->lock);
	h->idle += wait;
	while (wait && !h->first && !h->walked && !h->stopped)
		cond_wait(&h->changed, &h->lock);
	h->idle -= wait;
	b = h->stopped ? NULL : h->first;
	if (b) {
		h->first = b->next;
		if (!h->first)
			h->last = &h->first;
		b->next = NULL;
		h->queued--;
		cond_broadcast(&h->changed);
	}
	lock_drop(&h->lock);
	return b;
}

/* A batch that is over but for files that the stop left. */
static void batch_over(struct worker *w, struct hunt_batch *b)
{
	unsigned left = 0;

	for (unsigned i = 0; i < b->count; i++)
		left += b->files[i].fd >= 0;
	lock_take(&w->h->lock);
	w->h->left += left;
	cond_broadcast(&w->h->changed);
	lock_drop(&w->h->lock);
	hunt_batch_free(b);
}

/* Files that are over go out of it. */
static void batch_shrink(struct hunt_batch *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->count; i++) {
		if (b->files[i].fd >= 0)
			b->files[n++] = b->files[i];
		else
			free(b->files[i].path);
	}
	b->count = n;
}

static int batch_send(struct worker *w, struct hunt_batch *b, struct err *err)
{
	struct scan_item items[SCAN_MANY_FILES];
	int fds[SCAN_MANY_FILES];

	for (unsigned i = 0; i < b->count; i++) {
		fds[i] = b->files[i].fd;
		items[i] = (struct scan_item){ .len = (uint32_t)b->files[i].bytes,
					       .slots = 1u << HUNT_SLOT,
					       .file = (uint16_t)i };
	}
	return scan_many_send(w->child, fds, b->count, items, b->count, err);
}

/*
 * The child is dead. All that is under way is sent again, but for what it was at: that
 * goes alone to the next child.
 */
static void recover(struct worker *w)
{
	uint32_t done, from = 0, to = 0;
	struct hunt_batch *suspects = NULL;

	if (w->count > 0 && scan_many_suspects(w->child, &done, &from, &to))
		suspects = w->under_way[0];
	while (w->count > 0) {
		struct hunt_batch *b = w->under_way[--w->count];

		b->next = w->again;
		w->again = b;
	}
	scan_child_give(w->h->pool, STEAL(w->child));
	for (uint32_t i = from; suspects && i < to; i++)
		file_alone(w, &suspects->files[i]);
	for (struct hunt_batch *b = w->again; b; b = b->next)
		batch_shrink(b);
}

/* false: the child died of it; the batch is among those under way or to be sent again. */
static bool batch_begin(struct worker *w, struct hunt_batch *b)
{
	struct err err;

	if (w->h->asks_facts || b->count == 0) {
		for (unsigned i = 0; i < b->count; i++)
			file_alone(w, &b->files[i]);
		batch_over(w, b);
		return true;
	}
	if (w->count == 0 && !child_or_stop(w)) {
		batch_over(w, b);
		return true;
	}
	if (batch_send(w, b, &err) != 0) {
		b->next = w->again;
		w->again = b;
		recover(w);
		return false;
	}
	w->under_way[w->count++] = b;
	return true;
}

static void take_answers(struct worker *w)
{
	struct hunt_batch *b = w->under_way[0];
	struct scan_found *found = &w->found;
	struct err err;
	size_t hit = 0, failure = 0;

	if (scan_many_recv(w->child, found, &err) != 0) {
		recover(w);
		return;
	}
	for (uint32_t i = found->from; i < found->to; i++) {
		size_t first = hit;

		while (hit < found->result.hit_count && found->result.hits[hit].item == i)
			hit++;
		if (failure < found->failure_count && found->failures[failure].item == i) {
			file_failed(w, &b->files[i],
				    found->failures[failure].slot == SCAN_EVERY_SLOT
					    ? "cannot be read, or became shorter"
					    : "the engine failed");
			failure++;
			continue;
		}
		file_scanned(w, &b->files[i], found->result.hits + first, hit - first);
	}
	if (!found->is_last)
		return;
	w->under_way[0] = w->under_way[1];
	w->count--;
	batch_over(w, b);
}

/* One that is used up ends with what it has. */
static bool may_begin(const struct worker *w)
{
	return w->count == 0 || (w->count < UNDER_WAY && !scan_child_is_used_up(w->child));
}

static struct hunt_batch *next_batch(struct worker *w)
{
	struct hunt_batch *b = w->again;

	if (!b)
		return pop(w, w->count == 0);
	w->again = b->next;
	b->next = NULL;
	return b;
}

void hunt_worker_run(void *arg)
{
	struct worker w = { .h = arg, .hasher = hasher_new() };
	struct hunt_batch *b;

	w.piece = mem_must_zalloc(PIECE_BYTES);
	while (!stopped(w.h)) {
		while (may_begin(&w) && (b = next_batch(&w)) != NULL) {
			if (!batch_begin(&w, b))
				break;
		}
		if (w.count > 0)
			take_answers(&w);
		else if (!w.again)
			break;
	}
	while (w.count > 0)
		batch_over(&w, w.under_way[--w.count]);
	while ((b = w.again) != NULL) {
		w.again = b->next;
		batch_over(&w, b);
	}
	scan_child_give(w.h->pool, w.child);
	scan_found_release(&w.found);
	scan_result_release(&w.result);
	hasher_free(w.hasher);
	free(w.piece);
	free(w.results);
	lock_take(&w.h->lock);
	w.h->running--;
	cond_broadcast(&w.h->changed);
	lock_drop(&w.h->lock);
}
