#include "main_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "service/crash.h"
#include "service/users.h"

/*
 * Start and stop of a server, each step undone in reverse:
 *
 *   signals blocked, crash report armed
 *   service   database, packs, scanners, workers
 *   api       listens and serves
 *   control   commands of this machine
 *   address   DATA/address, "ready" in the log
 *
 *   SIGTERM, SIGINT: no new connections -> commands end -> requests end, at
 *   most GRACE_MS -> service. A second one ends the process at once; either
 *   way all files are valid. SIGHUP reads the live settings again.
 */
enum {
	GRACE_MS = 10000, /* longer than an honest request takes, shorter than a supervisor waits */
	ADDRESS_BYTES = 160,
	TLS_EXPIRES_SOON_S = 14 * 86400, /* time to notice the warning of a restart or renewal */
};

struct server {
	const struct options *o;
	const char *data;
	char host[ADDRESS_BYTES]; /* as written in a URL: IPv6 in brackets */
	char numeric[ADDRESS_BYTES];
	uint16_t port;
	struct service *svc;
	struct api *api;
	struct control *control;
	sigset_t signals;
	struct thread impatience;
};

/* ---- Address ---- */

/* "127.0.0.1:8080" or "[::1]:8080" into its parts. */
static int parse_listen(struct server *s, const char *text, struct err *err)
{
	const char *colon = strrchr(text, ':');
	struct str host = str_make(text, colon ? (size_t)(colon - text) : 0), inner = host;
	struct in6_addr parsed;
	uint64_t port;

	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		inner = str_make(host.p + 1, host.n - 2);
	snprintf(s->host, sizeof s->host, STR_FMT, STR_ARG(host));
	snprintf(s->numeric, sizeof s->numeric, STR_FMT, STR_ARG(inner));
	if (!host.n || host.n >= sizeof s->host || !str_to_u64(str_of(colon + 1), 65535, &port) ||
	    inet_pton(inner.n < host.n ? AF_INET6 : AF_INET, s->numeric, &parsed) != 1)
		return err_set(err, ERR_INVALID,
			       "'listen' is a numeric address and a port, as 127.0.0.1:8080 or "
			       "[::1]:8080, not '%s'",
			       text);
	s->port = (uint16_t)port;
	return 0;
}

/* Tell programs where we are: written aside, then put in place. */
static int write_address(const struct server *s, struct err *err)
{
	char path[4096], aside[4096];
	FILE *f;
	bool fine;

	snprintf(path, sizeof path, "%s/address", s->data);
	snprintf(aside, sizeof aside, "%s/address.tmp", s->data);
	f = fopen(aside, "we");
	if (!f)
		return err_sys(err, errno, "cannot write '%s'", aside);
	fine = fprintf(f, "%s:%u\n", s->host, s->port) > 0;
	fine = fclose(f) == 0 && fine;
	if (!fine || rename(aside, path) != 0)
		return err_sys(err, errno, "cannot write '%s'", path);
	return 0;
}

static void remove_address(const struct server *s)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/address", s->data);
	unlink(path);
}

/* ---- TLS ---- */

/* NULL where it is not set. */
static const char *setting_path(const struct settings *settings, enum setting_id id)
{
	const char *path = settings_text(settings, id);

	return path[0] ? path : NULL;
}

/* What is odd about the certificate, and goes on. */
static void tls_tell(const char *event, const struct http_tls_facts *f)
{
	int64_t now_s = clock_unix_s(clock_system());
	char begins[32], ends[32];

	time_format_utc(f->begins_s, begins);
	time_format_utc(f->ends_s, ends);
	log_event(LOG_INFO, event, LOG_Z("subject", f->subject), LOG_Z("begins", begins),
		  LOG_Z("ends", ends), LOG_I64("certificates", f->chain));
	if (f->ends_s <= now_s)
		log_event(LOG_WARN, "tls_certificate_expired", LOG_Z("subject", f->subject),
			  LOG_Z("ended", ends));
	else if (f->ends_s - now_s < TLS_EXPIRES_SOON_S)
		log_event(LOG_WARN, "tls_certificate_expires_soon", LOG_Z("subject", f->subject),
			  LOG_Z("ends", ends));
	if (f->begins_s > now_s)
		log_event(LOG_WARN, "tls_certificate_not_yet_valid", LOG_Z("subject", f->subject),
			  LOG_Z("begins", begins));
	if (f->key_is_exposed)
		log_event(LOG_WARN, "tls_key_exposed",
			  LOG_Z("means", "the file of tls-key is another's, or others may read it: "
					 "it should be the server's user's own, with mode 0600"));
}

/* Before anything is opened: what cannot be used is said at once. */
static int tls_check(const struct settings *settings, struct err *err)
{
	const char *certificate = setting_path(settings, SETTING_tls_certificate);
	const char *key = setting_path(settings, SETTING_tls_key);
	struct http_tls_facts facts;

	if (!certificate && !key)
		return 0;
	if (!certificate || !key)
		return err_set(err, ERR_INVALID,
			       "'tls-certificate' and 'tls-key' belong together: '%s' is not set",
			       certificate ? "tls-key" : "tls-certificate");
	TRY(http_tls_check(certificate, key, &facts, err));
	tls_tell("tls", &facts);
	return 0;
}

static void tls_read_again(const struct server *s)
{
	struct http_tls_facts facts;
	struct err err;

	if (!setting_path(&s->o->settings, SETTING_tls_certificate))
		return;
	if (api_tls_reload(s->api, &facts, &err) != 0)
		log_event(LOG_WARN, "tls_kept", LOG_Z("error", err.msg));
	else
		tls_tell("tls_read", &facts);
}

/* ---- The first start ---- */

static void count_user(const struct user *u, void *arg)
{
	(void)u;
	(*(size_t *)arg)++;
}

static void print_welcome(const struct server *s, const char *key)
{
	char url[ADDRESS_BYTES + 32];

	snprintf(url, sizeof url, "%s://%s:%u",
		 setting_path(&s->o->settings, SETTING_tls_certificate) ? "https" : "http", s->host,
		 s->port);
	printf("weir serves on %s\n\n"
	       "  user     admin\n"
	       "  API key  %s\n\n"
	       "This key is shown only now ('weir user key admin' makes a further one).\n"
	       "To try it, paste into another shell:\n\n"
	       "  export KEY=%s\n"
	       "  # add a ruleset\n"
	       "  curl -s -H \"x-apikey: $KEY\" %s/api/v3/intelligence/hunting_rulesets -d "
	       "'{\"data\":{\"type\":\"hunting_ruleset\",\"attributes\":{\"name\":\"first\","
	       "\"enabled\":true,\"rules\":\"rule elf_file { condition: uint32(0) == 0x464c457f "
	       "}\"}}}'\n"
	       "  # bring in a folder of samples\n"
	       "  %s ingest --data %s --wait /usr/bin\n"
	       "  # what was found\n"
	       "  curl -s -H \"x-apikey: $KEY\" \"%s/api/v3/ioc_stream?limit=3\"\n\n",
	       url, key, key, url, s->o->program, s->data, url);
	fflush(stdout);
}

/* With no account there is an administrator to make. */
static int first_start(struct server *s, struct err *err)
{
	char key[USER_KEY_CHARS + 1];
	size_t users = 0;

	TRY(user_each(s->svc, count_user, &users, err));
	if (users)
		return 0;
	TRY(user_add(s->svc, STR("admin"), ROLE_ADMIN, STR(""), NULL, key, err));
	print_welcome(s, key);
	return 0;
}

/* ---- Start ---- */

static void warn_of_settings(const struct settings *settings)
{
	if (!settings_bool(settings, SETTING_unsafe_no_sync))
		return;
	say("WARNING: unsafe-no-sync is set. A power loss will lose samples, rulesets and matches "
	    "that were acknowledged. For benchmarks only.");
	log_event(LOG_WARN, "unsafe_no_sync",
		  LOG_Z("means", "a power loss will lose what was acknowledged"));
}

static int server_open(struct server *s, struct err *err)
{
	const struct settings *settings = &s->o->settings;
	struct service_options service = session_service_options(settings);
	struct api_options api = {
		.address = s->numeric,
		.port = s->port,
		.threads = (unsigned)settings_number(settings, SETTING_threads),
		.connections_max = (unsigned)settings_number(settings, SETTING_connections_max),
		.trust_forwarded = settings_bool(settings, SETTING_trust_forwarded),
		.connections_per_address_max =
			(unsigned)settings_number(settings, SETTING_connections_per_address_max),
		.cors_origins = settings_text(settings, SETTING_cors_origins),
		.tls_certificate = setting_path(settings, SETTING_tls_certificate),
		.tls_key = setting_path(settings, SETTING_tls_key),
		.gzip_level = (int)settings_number(settings, SETTING_gzip_level),
		.log_requests = settings_bool(settings, SETTING_log_requests),
	};

	crash_handlers_install(s->data);
	TRY(service_open(&s->svc, &service, err));
	remove_address(s); /* one left by a crash */
	TRY(api_open(&s->api, s->svc, &api, err));
	s->port = api_port(s->api);
	TRY(control_open(&s->control, s->svc, s->data, err));
	TRY(first_start(s, err));
	TRY(write_address(s, err));
	api_set_ready(s->api);
	notify_supervisor("READY=1");
	log_event(LOG_INFO, "ready", LOG_Z("address", s->host), LOG_I64("port", s->port),
		  LOG_Z("data", s->data), LOG_Z("version", WEIR_VERSION));
	return 0;
}

/* ---- Until a signal ---- */

static void read_settings_again(const struct options *o)
{
	enum log_level level;
	struct settings now;
	struct err err;

	if (options_settings_again(o, &now, &err) != 0) {
		log_event(LOG_WARN, "settings_kept", LOG_Z("error", err.msg));
		return;
	}
	REQUIRE(log_level_parse(str_of(settings_text(&now, SETTING_log_level)), &level));
	log_set_level(level);
	log_event(LOG_INFO, "settings_read",
		  LOG_Z("log_level", settings_text(&now, SETTING_log_level)));
	settings_release(&now);
}

/* The signal that ends us. */
static int wait_for_end(const struct server *s)
{
	int received;

	for (;;) {
		sigwait(&s->signals, &received);
		if (received == SIGTERM || received == SIGINT)
			return received;
		if (received == SIGHUP) {
			notify_reloading();
			read_settings_again(s->o);
			tls_read_again(s);
			notify_supervisor("READY=1");
		}
	}
}

/* Runs while the server stops: whoever asks twice does not want to wait. */
static void be_impatient(void *arg)
{
	const struct server *s = arg;
	int received;

	do
		sigwait(&s->signals, &received);
	while (received == SIGHUP);
	if (received != SIGUSR1)
		_exit(STATUS_FAILED);
}

/* ---- Stop; also of a half-started one ---- */

static void server_close(struct server *s)
{
	struct err err;

	if (thread_start(&s->impatience, "impatience", be_impatient, s, &err) != 0)
		log_event(LOG_WARN, "second_signal_waits", LOG_Z("error", err.msg));
	if (s->api)
		api_stop_accepting(s->api);
	control_close(s->control);
	api_close(s->api, GRACE_MS);
	service_close(s->svc);
	if (s->impatience.started) {
		pthread_kill(s->impatience.t, SIGUSR1); /* done: nobody had to wait too long */
		thread_join(&s->impatience);
	}
}

int serve_check_settings(const struct settings *settings, struct err *err)
{
	struct server s = { .port = 0 };

	return parse_listen(&s, settings_text(settings, SETTING_listen), err);
}

int serve_command(const struct options *o)
{
	struct server s = { .o = o, .data = settings_text(&o->settings, SETTING_data) };
	struct err err;
	int rc, received;

	if (o->word_count) {
		say("weir serve takes no words, only options");
		return STATUS_USAGE;
	}
	if (parse_listen(&s, settings_text(&o->settings, SETTING_listen), &err) != 0 ||
	    tls_check(&o->settings, &err) != 0) {
		say("%s", err.msg);
		return STATUS_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&s.signals);
	sigaddset(&s.signals, SIGTERM);
	sigaddset(&s.signals, SIGINT);
	sigaddset(&s.signals, SIGHUP);
	sigaddset(&s.signals, SIGUSR1); /* from ourselves, see server_close */
	pthread_sigmask(SIG_BLOCK, &s.signals, NULL);
	warn_of_settings(&o->settings);
	rc = server_open(&s, &err);
	if (rc == 0) {
		received = wait_for_end(&s);
		notify_supervisor("STOPPING=1");
		log_event(LOG_INFO, "stopping", LOG_I64("signal", received));
		remove_address(&s);
	}
	server_close(&s);
	if (rc) {
		say("%s", err.msg);
		return STATUS_FAILED;
	}
	log_event(LOG_INFO, "stopped", LOG_Z("data", s.data));
	return STATUS_OK;
}
