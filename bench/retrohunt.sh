#!/bin/sh
# make bench-retrohunt: what it needs is made once, outside the clone.
#   SIZE         smoke (200 MB, 140 rules), S (2 GB, 400 rules; default) or M (10 GB: S and changed copies)
#   COLD         rules that are hunted on a throttled store, too (default 24)
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
"$here/tools/build.sh" release weir bench_retrohunt >&2
exec "$python" "$here/bench/retrohunt/run.py" "$here/build/release/weir" "$here/build/release/bench_retrohunt" "$work" \
	--size "$size" --cold "${COLD:-24}"
