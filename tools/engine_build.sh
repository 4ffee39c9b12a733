#!/bin/sh
# Builds engine/ (YARA-X behind our C header) once per set of inputs and leaves
# libengine.a and the vt protos in a cache outside the clone.
#
#   tools/engine_build.sh [--print-dir | --test]
#
# --test runs the Rust unit tests of engine/ instead, on the same dependencies.
# Prints the folder that holds libengine.a and protos/ as the only line on
# standard output; progress goes to standard error. WEIR_CACHE overrides the
# place of the cache (default: $XDG_CACHE_HOME/weir or ~/.cache/weir).
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}

cargo=$("$here/tools/cargo.sh") || {
	echo "engine: no cargo of version 1.95 or newer; run 'make deps'" >&2
	exit 1
}

rust=$("$cargo" --version)
deps_key=$( (printf '%s\n' "$rust"; cat "$here/engine/Cargo.toml" "$here/engine/Cargo.lock") | sha256sum | cut -c1-16)
lib_key=$( (printf '%s\n' "$deps_key"; cd "$here/engine" && find src include -type f | LC_ALL=C sort | while read -r f; do
	printf '%s ' "$f"; sha256sum < "$f"; done; sha256sum < "$here/tools/engine_build.sh") | sha256sum | cut -c1-16)
out=$cache/engine-$lib_key
[ "${1:-}" = --print-dir ] && { echo "$out"; exit 0; }
if [ "${1:-}" = --test ]; then
	target=$cache/target-$deps_key
	mkdir -p "$target"
	exec 9> "$target.lock"
	flock 9
	cd "$here/engine"
	exec "$cargo" test --release --locked --target-dir "$target"
fi

if [ ! -f "$out/libengine.a" ]; then
	target=$cache/target-$deps_key
	mkdir -p "$target"
	(
		flock 9
		[ -f "$out/libengine.a" ] && exit 0
		if [ -d "$target/release" ]; then
			echo "engine: compiling our layer over YARA-X (about 10 seconds)" >&2
		else
			echo "engine: compiling YARA-X once (about 9 minutes on two cores; cached in $cache)" >&2
		fi
		cd "$here/engine"
		"$cargo" build --release --locked --target-dir "$target" >&2
		yarax=$("$cargo" metadata --locked --format-version 1 2>/dev/null | tr ',' '\n' |
			sed -n 's/.*"manifest_path":"\(.*\/yara-x-1\.[^/]*\)\/Cargo.toml".*/\1/p' | head -n 1)
		[ -d "$yarax/src/modules/protos" ] || { echo "engine: cannot find the protos of the yara-x crate" >&2; exit 1; }
		tmp=$out.tmp.$$
		rm -rf "$tmp" && mkdir -p "$tmp"
		cp "$target/release/libengine.a" "$tmp/"
		cp -r "$yarax/src/modules/protos" "$tmp/protos"
		rm -rf "$tmp/protos/generated"
		mv "$tmp" "$out"
	) 9> "$target.lock"
	[ -f "$out/libengine.a" ] || exit 1
fi
echo "$out"
