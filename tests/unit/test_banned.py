"""Every banned function is refused by the compiler, with what to use instead.

    test_banned.py CC BANNED_H
"""
import subprocess
import sys
import tempfile

cc, banned_h = sys.argv[1:]
BANNED = {
    "strcpy": "strcpy(a, b);",
    "strcat": "strcat(a, b);",
    "sprintf": 'sprintf(a, "%s", b);',
    "vsprintf": 'vsprintf(a, "%s", ap);',
    "strtok": 'strtok(a, ",");',
    "atoi": "atoi(b);",
    "atol": "atol(b);",
    "atoll": "atoll(b);",
    "gmtime": "gmtime(t);",
    "localtime": "localtime(t);",
    "rand": "rand();",
    "srand": "srand(1);",
}
# System headers that come after must still compile.
SOURCE = """#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
void f(char *a, const char *b, const time_t *t, va_list ap);
void f(char *a, const char *b, const time_t *t, va_list ap)
{
	(void)a; (void)b; (void)t; (void)ap;
	%s
}
"""


def compile_with(line):
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        f.write(SOURCE % line)
        f.flush()
        return subprocess.run([cc, "-D_GNU_SOURCE", "-include", banned_h, "-fsyntax-only", f.name],
                              capture_output=True, text=True, check=False)


failures = []
clean = compile_with("(void)strlen(b);")
if clean.returncode != 0:
    failures.append("code without banned functions does not compile:\n" + clean.stderr)
for name, line in BANNED.items():
    got = compile_with(line)
    if got.returncode == 0 or f"banned_{name}_use_" not in got.stderr:
        failures.append(f"{name}: not refused by its name:\n{got.stderr}")
print("\n".join(failures) or f"{len(BANNED)} functions are refused")
sys.exit(1 if failures else 0)
