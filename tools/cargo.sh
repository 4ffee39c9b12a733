#!/bin/sh
# Prints the first cargo that can build the engine (1.95 or newer: what YARA-X
# asks for) as the only line on standard output; exits 1 where there is none.
# CARGO names one and is then not judged.
set -eu
[ -n "${CARGO:-}" ] && { echo "$CARGO"; exit 0; }
for candidate in cargo "$HOME/.cargo/bin/cargo" /usr/local/bin/cargo /usr/bin/cargo; do
	version=$("$candidate" --version 2>/dev/null) || continue
	minor=$(printf '%s' "$version" | sed 's/^cargo 1\.\([0-9]*\).*/\1/')
	if [ "$minor" -ge 95 ] 2>/dev/null; then
		command -v "$candidate"
		exit 0
	fi
done
exit 1
