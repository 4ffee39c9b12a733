#!/usr/bin/env bash
# Runs every fuzz target of build/fuzz for FUZZ_SECONDS, starting from
# fuzz/corpus/NAME and with fuzz/NAME.dict where they exist. New inputs go to
# build/fuzz/corpus, never into the clone. Ends with 'N passed, N failed'.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-20}
passed=0 failed=0
# Targets that write files sync them: a hundred times as many runs where that costs nothing.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
while read -r target; do
	name=${target##*/fuzz_}
	found=build/fuzz/corpus/$name
	mkdir -p "$found"
	args=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0
		-artifact_prefix="$found/../")
	[ -f "fuzz/$name.dict" ] && args+=(-dict="fuzz/$name.dict")
	dirs=("$found")
	[ -d "fuzz/corpus/$name" ] && dirs+=("fuzz/corpus/$name")
	echo "fuzz: $name for $seconds s"
	if "$target" "${args[@]}" "${dirs[@]}"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done < <(find build/fuzz -maxdepth 3 -type f -name 'fuzz_*' -executable | sort)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
