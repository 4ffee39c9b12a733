#!/bin/sh
# make bench-livehunt: rules and files are made once, outside the clone.
#   WEIR_BENCH  the folder for them (default: $WEIR_CACHE/bench or ~/.cache/weir/bench)
#   PASSES      passes of each kind (default 5)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
work=${WEIR_BENCH:-${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}/bench}/livehunt
key=$(cat "$here/bench/livehunt/make_rules.py" "$here/bench/livehunt/make_corpus.py" | sha256sum | cut -c1-12)
input=$work/input-$key
if [ ! -d "$input" ]; then
	rm -rf "$input.tmp"
	mkdir -p "$input.tmp"
	python3 "$here/bench/livehunt/make_rules.py" "$input.tmp/rules"
	python3 "$here/bench/livehunt/make_corpus.py" "$input.tmp/corpus" >&2
	mv "$input.tmp" "$input"
fi
"$here/tools/build.sh" release bench_livehunt >&2
rm -rf "$work/data"
"$here/build/release/bench_livehunt" --rules "$input/rules" --corpus "$input/corpus" \
	--data "$work/data" --passes "${PASSES:-5}" --hunts-only "${HUNTS_ONLY:-no}"
rm -rf "$work/data"
