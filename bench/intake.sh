#!/bin/sh
# make bench-intake: real files of this machine through weir, sha256sum and a plain copy.
#   BENCH_PATHS   folders they are taken from (default: /usr /opt /root, what can be read)
#   BENCH_FILES   how many (default 20000)
#   BENCH_FOLDER  where copies and the store are made: the disk that is judged (default: $TMPDIR or /tmp)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
"$here/tools/build.sh" release weir >&2
exec python3 "$here/bench/intake/intake.py" "$here/build/release/weir" \
	--files "${BENCH_FILES:-20000}" --folder "${BENCH_FOLDER:-${TMPDIR:-/tmp}}" ${BENCH_PATHS:-/usr /opt /root}
