#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* Everything that can grow has its maximum here or in the settings, with the reason. */
enum {
	LIMIT_SAMPLE_BYTES = 650 * 1024 * 1024,       /* VirusTotal's largest upload */
	LIMIT_UPLOAD_DIRECT_BYTES = 32 * 1024 * 1024, /* POST /files without upload_url */
	LIMIT_HUNT_BYTES = 100 * 1000 * 1000,         /* VirusTotal hunts files up to 100 MB */
	LIMIT_JSON_BODY_BYTES = 4 * 1024 * 1024,      /* a 1 MB ruleset, escaped, fits */
	LIMIT_RULES_BYTES = 1024 * 1024,              /* VirusTotal's ruleset size */
	LIMIT_RULES_PER_SET = 10000,                  /* far above any pack seen in one ruleset */
	LIMIT_FILTER_BYTES = 16 * 1024,               /* longer than a URL any client sends */
	LIMIT_FILTER_TERMS = 256,                     /* each may cost an index look-up */
	LIMIT_FILTER_DEPTH = 64,                      /* parser recursion */
	LIMIT_CURSOR_BYTES = 32 * 1024,               /* carries its filter */
	LIMIT_PAGE = 40,                              /* /ioc_stream, /collections */
	LIMIT_PAGE_WIDE = 300,                        /* other lists */
	LIMIT_NAME_BYTES = 255,                       /* one file name shown; longer ones are cut */
	LIMIT_NAMES_PER_FILE = 100,                   /* oldest names go first */
	LIMIT_RULESET_NAME_BYTES = 256,
	LIMIT_TAGS_PER_RULESET = 64,
	LIMIT_EMAILS_PER_RULESET = 64,
	LIMIT_USER_NAME_BYTES = 64,
	LIMIT_SNIPPET_WINDOWS = 10, /* as VirusTotal's snippets */
	LIMIT_SNIPPET_BYTES =
		64 * 1024,            /* ten windows of usual matches, one of the longest shown */
	LIMIT_HITS_PER_FILE = 100000, /* a file that hits more has no meaning */
};
#endif
