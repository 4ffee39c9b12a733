#!/bin/sh
# make bench-retrohunt: what it needs is made once, outside the clone.
#   SIZE         smoke (200 MB, 140 rules), S (2 GB, 400 rules; default) or M (10 GB: S and changed copies)
#   EVERY        hunt each so many-th rule only (default 1)
#   COLUMNS_SYNTHETIC   columns of the look-ups over synthetic ones (default 1000000)
#   COLD         rules that are hunted on a throttled store, too (default 24)
#   FILL         how full columns of the index are, per thousand (default: the setting's)
#   WEIR_BENCH   the folder for corpus and data (default: $WEIR_CACHE/bench or ~/.cache/weir/bench)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
size=${SIZE:-S}
work=${WEIR_BENCH:-${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}/bench}/retrohunt
mkdir -p "$work" "$here/build/check"
python=$(cd "$here/tools" && PYTHONDONTWRITEBYTECODE=1 python3 -c "import check; print(check.python_env(check.Report()))" | tail -1)
key=$(cat "$here"/bench/retrohunt/packages.lock "$here"/bench/retrohunt/[cd]*.py "$here"/bench/retrohunt/rules.py | sha256sum | cut -c1-12)
if [ "$(cat "$work/$size.key" 2>/dev/null)" != "$key" ]; then
	rm -rf "$work/$size"
	"$python" "$here/bench/retrohunt/corpus.py" "$work/$size" --size "$size"
	"$python" "$here/bench/retrohunt/rules.py" "$work/$size" "$work/$size-rules.json" --rules "$([ "$size" = smoke ] && echo 120 || echo 400)"
	echo "$key" >"$work/$size.key"
fi
"$here/tools/build.sh" release weir bench_retrohunt bench_index bench_query >&2
fill=${FILL:-$(sed -n 's/^#define SIGNATURE_FILL_DEFAULT \([0-9]*\).*/\1/p' "$here/src/index/include/index/signature.h")}
# Building and look-ups alone, over the same files with the same fill.
"$here/build/release/bench_index" "$work/$size/files" --fill "$fill" | tail -1
mkdir -p "$work/query"
"$here/build/release/bench_query" --folder "$work/$size/files" --files 13000 --columns "${COLUMNS_SYNTHETIC:-1000000}" --work "$work/query" | tail -1
rm -rf "$work/query"
# The server would take those for settings.
exec env -u WEIR_BENCH -u WEIR_CACHE "$python" "$here/bench/retrohunt/run.py" "$here/build/release/weir" "$here/build/release/bench_retrohunt" "$work" \
	--size "$size" --cold "${COLD:-24}" --every "${EVERY:-1}" --setting="--index-fill=$fill"
