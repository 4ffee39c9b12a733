#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "service/crash.h"

enum {
	HOLDER_WAIT_MS =
		10000, /* a server that starts or stops holds the folder, but does not answer */
	HOLDER_LOOK_MS = 50
};

struct link {
	struct session *session;
	struct frame_in in;
	int served_fd; /* in-process: the other end, its thread's */
	struct thread thread;
};

struct session {
	struct service *svc; /* NULL: a server has it */
	char *data;          /* owned */
	struct link links[SESSION_LINKS_MAX];
	size_t link_count;
};

/* A quota's own setting, or what the tier says. */
static int64_t quota_default(const struct settings *settings, enum quota quota)
{
	static const enum setting_id ids[QUOTA_COUNT] = {
		[QUOTA_REQUESTS_MINUTE] = SETTING_quota_requests_minute,
		[QUOTA_REQUESTS_HOUR] = SETTING_quota_requests_hour,
		[QUOTA_REQUESTS_DAY] = SETTING_quota_requests_day,
		[QUOTA_REQUESTS_MONTH] = SETTING_quota_requests_month,
		[QUOTA_DOWNLOADS_MONTH] = SETTING_quota_downloads_month,
		[QUOTA_RETROHUNT_JOBS_MONTH] = SETTING_quota_retrohunt_jobs_month,
		[QUOTA_HUNTING_RULES] = SETTING_quota_hunting_rules,
		[QUOTA_HUNTING_RULESETS] = SETTING_quota_hunting_rulesets,
	};
	uint64_t own = settings_number(settings, ids[quota]);

	if (own)
		return (int64_t)own;
	return strcmp(settings_text(settings, SETTING_quota_tier), "public") == 0
		       ? quota_infos[quota].public_allowed
		       : QUOTA_UNLIMITED;
}

struct service_options session_service_options(const struct settings *settings)
{
	struct service_options o = service_options_default(settings_text(settings, SETTING_data));

	if (settings_number(settings, SETTING_workers))
		o.workers = (uint32_t)settings_number(settings, SETTING_workers);
	if (settings_number(settings, SETTING_retrohunt_workers))
		o.retrohunt_workers =
			(uint32_t)settings_number(settings, SETTING_retrohunt_workers);
	o.retrohunt_rules_max = (uint32_t)settings_number(settings, SETTING_retrohunt_rules_max);
	o.retrohunt_jobs_max = (uint32_t)settings_number(settings, SETTING_retrohunt_jobs_max);
	o.retrohunt_split_ms = (uint32_t)settings_number(settings, SETTING_retrohunt_split_ms);
	o.retrohunt_matches_max = settings_number(settings, SETTING_retrohunt_matches_max);
	o.hunt_bytes_max = settings_number(settings, SETTING_hunt_bytes_max);
	o.disk_reserve_bytes = settings_number(settings, SETTING_disk_reserve_bytes);
	o.scan_memory_max = settings_number(settings, SETTING_scan_memory_max);
	o.suspects_max = (uint32_t)settings_number(settings, SETTING_suspects_max);
	o.scan_timeout_ms = (uint32_t)settings_number(settings, SETTING_scan_timeout_ms);
	o.compile_timeout_ms = (uint32_t)settings_number(settings, SETTING_compile_timeout_ms);
	o.retention_days = (uint32_t)settings_number(settings, SETTING_retention_days);
	o.ruleset_limit_default = settings_number(settings, SETTING_ruleset_limit_default);
	o.group_delay_us = (uint32_t)settings_number(settings, SETTING_group_delay_us);
	o.unpack.depth_max = (uint32_t)settings_number(settings, SETTING_unpack_depth_max);
	o.unpack.entries_max = settings_number(settings, SETTING_unpack_entries_max);
	o.unpack.bytes_max = settings_number(settings, SETTING_unpack_bytes_max);
	o.unpack.entry_bytes_max = settings_number(settings, SETTING_unpack_entry_bytes_max);
	o.unpack.ratio_max = (uint32_t)settings_number(settings, SETTING_unpack_ratio_max);
	o.unpack.timeout_ms = (uint32_t)settings_number(settings, SETTING_unpack_timeout_ms);
	for (unsigned i = 0; i < QUOTA_COUNT; i++)
		o.quotas[i] = quota_default(settings, (enum quota)i);
	o.index.on = settings_bool(settings, SETTING_index);
	o.index.seconds = (uint32_t)settings_number(settings, SETTING_index_seconds);
	o.index.memory_bytes = settings_number(settings, SETTING_index_memory_bytes);
	if (settings_number(settings, SETTING_index_threads))
		o.index.threads = (uint32_t)settings_number(settings, SETTING_index_threads);
	o.index.fill_max = (uint32_t)settings_number(settings, SETTING_index_fill);
	o.index.merge_fan = (uint32_t)settings_number(settings, SETTING_index_merge_fan);
	o.index.rest_seconds = (uint32_t)settings_number(settings, SETTING_index_rest_seconds);
	o.index.docs_max = (uint32_t)settings_number(settings, SETTING_index_segment_files_max);
	o.index.bytes_max = settings_number(settings, SETTING_index_segment_bytes_max);
	o.audit_retention_days = (uint32_t)settings_number(settings, SETTING_audit_retention_days);
	o.audit_rows_max = settings_number(settings, SETTING_audit_rows_max);
	o.unsafe_no_sync = settings_bool(settings, SETTING_unsafe_no_sync);
	return o;
}

/* ---- Opening ---- */

static void link_serve(void *arg)
{
	struct link *l = arg;

	control_serve(l->session->svc, l->served_fd, -1);
}

static int link_open(struct session *s, struct link *l, int *ret_fd, struct err *err)
{
	int ends[2], rc;

	if (!s->svc)
		return control_connect(ret_fd, s->data, err);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return err_sys(err, errno, "cannot make a socket");
	l->session = s;
	l->served_fd = ends[1];
	rc = thread_start(&l->thread, "control", link_serve, l, err);
	if (rc) {
		close(ends[0]);
		close(ends[1]);
		return rc;
	}
	*ret_fd = ends[0];
	return 0;
}

int session_link(struct session *s, struct frame_in **ret, struct err *err)
{
	struct link *l = &s->links[s->link_count];
	int fd;

	REQUIRE(s->link_count < SESSION_LINKS_MAX);
	TRY(link_open(s, l, &fd, err));
	frame_in_init(&l->in, fd);
	s->link_count++;
	*ret = &l->in;
	return 0;
}

/* Does a server answer? */
static bool server_answers(const char *data)
{
	struct err err;
	int fd;

	if (control_connect(&fd, data, &err) != 0)
		return false;
	close(fd);
	return true;
}

static int session_find(struct session *s, const struct settings *settings, enum session_work work,
			struct err *err)
{
	struct service_options options = session_service_options(settings);
	int64_t until_us = clock_mono_us(clock_system()) + HOLDER_WAIT_MS * 1000;
	int rc;

	if (work != SESSION_HUNTS)
		options.workers = 0;
	options.index.on = options.index.on && work != SESSION_STORES;
	options.index.repairs = work == SESSION_INDEXES;
	for (;;) {
		if (server_answers(s->data))
			return 0;
		rc = service_open(&s->svc, &options, err);
		if (rc != -ERR_BUSY)
			return rc;
		if (clock_mono_us(clock_system()) > until_us)
			return err_add(err, "no server answers at '%s/control.sock'", s->data);
		poll(NULL, 0, HOLDER_LOOK_MS);
	}
}

int session_open(struct session **ret, const struct settings *settings, enum session_work work,
		 struct err *err)
{
	struct session *s = mem_must_zalloc(sizeof *s);
	int rc;

	s->data = mem_must_strdup(settings_text(settings, SETTING_data));
	if (work == SESSION_HUNTS)
		crash_handlers_install(s->data);
	rc = session_find(s, settings, work, err);
	if (rc) {
		session_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

int session_open_existing(struct session **ret, const struct settings *settings,
			  enum session_work work, struct err *err)
{
	const char *data = settings_text(settings, SETTING_data);
	char path[4096], restoring[4096];

	snprintf(path, sizeof path, "%s/weir.db", data);
	snprintf(restoring, sizeof restoring, "%s/restoring", data);
	/* What is only half a folder is opened, to be told what it is. */
	if (access(path, F_OK) != 0 && access(restoring, F_OK) != 0)
		return err_sys(err, errno, "there is no data folder at '%s'", data);
	return session_open(ret, settings, work, err);
}

void session_close(struct session *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->link_count; i++) {
		close(s->links[i].in.fd);
		thread_join(&s->links[i].thread);
		frame_in_release(&s->links[i].in);
	}
	if (s->svc)
		service_forsake(s->svc); /* with the links it has nobody left */
	service_close(s->svc);
	free(s->data);
	free(s);
}

bool session_is_remote(const struct session *s)
{
	return !s->svc;
}

/* ---- Asking ---- */

int session_error(struct frame *f, struct err *err)
{
	uint64_t kind = frame_take_u64(f);
	struct str text = frame_take_str(f);

	if (f->bad || kind == 0 || kind >= ERR_KIND_COUNT)
		return err_set(err, ERR_IO, "the server's answer is damaged");
	return err_set(err, (enum err_kind)kind, STR_FMT, STR_ARG(text));
}

int session_call(struct frame_in *link, struct str request,
		 void (*item)(struct frame *f, void *arg), void *arg, struct frame *ret,
		 struct err *err)
{
	return session_call_fd(link, request, -1, item, arg, ret, err);
}

int session_call_fd(struct frame_in *link, struct str request, int fd,
		    void (*item)(struct frame *f, void *arg), void *arg, struct frame *ret,
		    struct err *err)
{
	bool end = false, any;

	TRY(frame_send(link->fd, request, fd, err));
	for (;;) {
		TRY(frame_in_next(link, ret, &any, err));
		if (!any) {
			if (end)
				return err_set(err, ERR_CLOSED, "the server has gone away");
			TRY(frame_in_read(link, &end, err));
		} else if (ret->kind == CONTROL_ITEM) {
			item(ret, arg);
		} else {
			return ret->kind == CONTROL_OK ? 0 : session_error(ret, err);
		}
	}
}
