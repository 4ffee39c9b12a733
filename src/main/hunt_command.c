#include "hunt.h"

#include <signal.h>
#include <unistd.h>

#include "report.h"

enum {
	EVERY_S_MAX = 86400,
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

bool hunt_is_interrupted(void)
{
	return interrupted != 0;
}

static bool read_format(const struct options *o, enum hunt_format *ret)
{
	static const struct {
		enum option_id id;
		enum hunt_format format;
	} formats[] = { { OPTION_json, HUNT_JSON },
			{ OPTION_csv, HUNT_CSV },
			{ OPTION_hashes, HUNT_HASHES } };
	unsigned given = 0;

	*ret = HUNT_LINES;
	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
		if (!option_given(o, formats[i].id))
			continue;
		*ret = formats[i].format;
		given++;
	}
	if (given > 1)
		say("weir hunt takes one of --json, --csv, --hashes");
	else if (given && *ret != HUNT_JSON && option_given(o, OPTION_estimate))
		say("an estimate is text, or with --json an object");
	else
		return true;
	return false;
}

/* Of a word behind the first. */
static bool is_rules(const char *path)
{
	struct stat st;

	return hunt_rules_is_name(path) || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

/* What goes with a folder does not go with what is stored, and the other way round. */
static bool check_options(const struct options *o)
{
	static const enum option_id stored[] = { OPTION_corpus, OPTION_since, OPTION_until,
						 OPTION_user, OPTION_estimate };

	for (size_t i = 1; i < o->word_count && !option_given(o, OPTION_dir); i++) {
		if (!is_rules(o->words[i])) {
			say("'%s' is no file of rules (*.yar, *.yara) and no folder: weir hunt "
			    "takes "
			    "files to scan only with --dir",
			    o->words[i]);
			return false;
		}
	}
	const char *corpus = option_value(o, OPTION_corpus, "main");

	if (strcmp(corpus, "main") != 0 && strcmp(corpus, "goodware") != 0) {
		say("--corpus is main or goodware, not '%s'", corpus);
		return false;
	}
	if (!option_given(o, OPTION_dir))
		return true;
	for (size_t i = 0; i < sizeof stored / sizeof stored[0]; i++) {
		if (option_given(o, stored[i])) {
			say("--%s does not go with --dir", option_name(stored[i]));
			return false;
		}
	}
	return true;
}

int hunt_command(const struct options *o)
{
	struct sigaction once = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };
	enum hunt_format format;
	struct hunt_view view;
	uint64_t every_s;

	if (!read_format(o, &format) ||
	    !read_number(o, OPTION_every, "5", 0, EVERY_S_MAX, &every_s))
		return HUNT_FAILED;
	if (o->word_count == 0) {
		say("weir hunt takes a file of rules");
		return HUNT_FAILED;
	}
	if (!check_options(o))
		return HUNT_FAILED;
	/* A second one ends at once. Who reads the results may go away: that is seen when writing.
	 */
	sigaction(SIGINT, &once, NULL);
	sigaction(SIGTERM, &once, NULL);
	signal(SIGPIPE, SIG_IGN);
	hunt_view_init(&view, format, every_s);
	if (option_given(o, OPTION_dir))
		return hunt_dir(o, &view);
	return hunt_retro(o, &view);
}
