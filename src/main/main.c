#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/api.h"
#include "base/log.h"
#include "scan/scan.h"
#include "service/crash.h"
#include "service/users.h"

enum {
	EXIT_USAGE = 2,
	GRACE_MS = 10000
};

struct arguments {
	const char *data;
	const char *listen;
	const char *role;
	const char *words[8];
	size_t word_count;
};

static const char usage[] = "weir serve [--data DIR] [--listen HOST:PORT]\n"
			    "weir user add NAME --role viewer|hunter|editor|admin [--data DIR]\n";

static bool read_arguments(struct arguments *a, int argc, char **argv)
{
	const char *data = getenv("WEIR_DATA"), *address = getenv("WEIR_LISTEN");

	*a = (struct arguments){ .data = data ? data : "weir-data",
				 .listen = address ? address : "127.0.0.1:8080",
				 .role = "hunter" };
	for (int i = 1; i < argc; i++) {
		const char **to = NULL;

		if (strcmp(argv[i], "--data") == 0)
			to = &a->data;
		else if (strcmp(argv[i], "--listen") == 0)
			to = &a->listen;
		else if (strcmp(argv[i], "--role") == 0)
			to = &a->role;
		if (to && i + 1 < argc) {
			*to = argv[++i];
		} else if (argv[i][0] == '-' || a->word_count == 8) {
			fprintf(stderr, "weir: what is '%s'?\n%s", argv[i], usage);
			return false;
		} else {
			a->words[a->word_count++] = argv[i];
		}
	}
	return true;
}

static int fail(const struct err *err)
{
	fprintf(stderr, "weir: %s\n", err->msg);
	return EXIT_FAILURE;
}

/* "host:port" into its parts; the host is cut out in place. */
static bool split_listen(char *text, const char **host, uint16_t *port)
{
	char *colon = strrchr(text, ':');
	uint64_t v;

	if (!colon || !str_to_u64(str_of(colon + 1), 65535, &v))
		return false;
	*colon = 0;
	*host = text;
	*port = (uint16_t)v;
	return true;
}

static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void count_user(const struct user *u, void *arg)
{
	(void)u;
	(*(size_t *)arg)++;
}

static int first_start(struct service *svc, const char *host, uint16_t port, struct err *err)
{
	char key[USER_KEY_CHARS + 1];
	size_t users = 0;

	TRY(user_each(svc, count_user, &users, err));
	if (users)
		return 0;
	TRY(user_add(svc, STR("admin"), ROLE_ADMIN, STR(""), key, err));
	printf("weir serves on http://%s:%u\n  user: admin\n  key:  %s\n", host, port, key);
	fflush(stdout);
	return 0;
}

static int serve(const struct arguments *a, struct err *err)
{
	struct service_options options = service_options_default(a->data);
	struct api_options api_options = { .log_requests = true };
	char *listen_text = strdup(a->listen);
	struct service *svc = NULL;
	struct api *api = NULL;
	sigset_t signals;
	int received, rc;

	if (!listen_text || !split_listen(listen_text, &api_options.address, &api_options.port)) {
		free(listen_text);
		return err_set(err, ERR_INVALID, "--listen must be HOST:PORT");
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	raise_file_limit();
	crash_handlers_install(a->data);
	rc = service_open(&svc, &options, err);
	if (rc == 0)
		rc = api_open(&api, svc, &api_options, err);
	if (rc == 0)
		rc = first_start(svc, api_options.address, api_port(api), err);
	if (rc == 0) {
		log_event(LOG_INFO, "ready", LOG_Z("address", api_options.address),
			  LOG_I64("port", api_port(api)));
		sigwait(&signals, &received);
		log_event(LOG_INFO, "stopping", LOG_I64("signal", received));
		pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
		api_stop_accepting(api);
	}
	api_close(api, GRACE_MS);
	service_close(svc);
	free(listen_text);
	return rc;
}

static int add_user(const struct arguments *a, struct err *err)
{
	struct service_options options = service_options_default(a->data);
	char key[USER_KEY_CHARS + 1];
	struct service *svc;
	enum user_role role;
	int rc;

	if (!user_role_parse(str_of(a->role), &role))
		return err_set(err, ERR_INVALID, "there is no role '%s'", a->role);
	options.workers = 0;
	TRY(service_open(&svc, &options, err));
	rc = user_add(svc, str_of(a->words[2]), role, STR(""), key, err);
	service_close(svc);
	if (rc == 0)
		printf("%s\n", key);
	return rc;
}

int main(int argc, char **argv)
{
	struct arguments a;
	struct err err;
	int rc;

	if (argc > 1 && strcmp(argv[1], "scan-child") == 0)
		return scan_child_main();
	if (!read_arguments(&a, argc, argv))
		return EXIT_USAGE;
	if (a.word_count == 1 && strcmp(a.words[0], "serve") == 0) {
		rc = serve(&a, &err);
	} else if (a.word_count == 3 && strcmp(a.words[0], "user") == 0 &&
		   strcmp(a.words[1], "add") == 0) {
		rc = add_user(&a, &err);
	} else {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	log_flush();
	return rc ? fail(&err) : EXIT_SUCCESS;
}
