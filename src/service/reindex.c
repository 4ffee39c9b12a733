#include "reindex_internal.h"

struct stale_req {
	struct write_req req;
	int64_t id;
};

static int stale_apply(struct sql_conn *conn, struct write_req *req, struct err *err)
{
	uint64_t n;

	return segment_rows_set_stale(conn, ((struct stale_req *)req)->id, &n, err);
}

/* What is still to be built anew. */
static void count_stale(struct corpus *c, struct reindex_result *ret)
{
	struct corpus_snapshot *list = corpus_list_get(c);

	ret->segments = 0;
	ret->sample_bytes = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct corpus_segment *s = list->segments[i];

		if (!atomic_load(&s->is_stale))
			continue;
		ret->segments++;
		ret->sample_bytes += s->row.sample_bytes;
	}
	corpus_snapshot_free(list);
	ret->sample_bytes -= atomic_load(&c->rebuilt_bytes) < ret->sample_bytes
				     ? atomic_load(&c->rebuilt_bytes)
				     : ret->sample_bytes;
}

/* One that is merged away since it was marked hands the mark on to what it is merged into. */
int reindex_mark(struct service *svc, int64_t segment, struct err *err)
{
	struct stale_req r = { .req = { .apply = stale_apply, .lane = LANE_API }, .id = segment };
	struct corpus_snapshot *list;

	TRY(writer_call(svc->writer, &r.req, err));
	list = corpus_list_get(svc->corpus);
	for (size_t i = 0; i < list->count; i++) {
		if (!segment || list->segments[i]->row.id == segment)
			atomic_store(&list->segments[i]->is_stale, true);
	}
	corpus_snapshot_free(list);
	corpus_wake(svc);
	return 0;
}

static int wait_built(struct corpus *c, struct task *task, struct err *err)
{
	struct reindex_result left = { .segments = 0 };

	for (;;) {
		count_stale(c, &left);
		if (!left.segments)
			return 0;
		task->done = task->all > left.sample_bytes ? task->all - left.sample_bytes : 0;
		if (!task_goes_on(task, 0))
			return err_set(err, ERR_CLOSED,
				       "it was stopped; the rest is built in the background");
		TRY(corpus_failure(c, err));
		lock_take(&c->lock);
		(void)cond_wait_ms(&c->changed, &c->lock, TASK_LOOK_MS);
		lock_drop(&c->lock);
	}
}

int service_reindex(struct service *svc, const struct reindex_options *options, struct task *task,
		    struct reindex_result *ret, struct err *err)
{
	if (!svc->options.index.on)
		return err_set(err, ERR_INVALID, "there is no index: the setting 'index' is false");
	*ret = (struct reindex_result){ .segments = 0 };
	if (options->features)
		TRY(reindex_features(svc, task, ret, err));
	else
		TRY(reindex_mark(svc, options->segment, err));
	count_stale(svc->corpus, ret);
	task_step(task, "samples to be indexed again", ret->sample_bytes);
	return wait_built(svc->corpus, task, err);
}
