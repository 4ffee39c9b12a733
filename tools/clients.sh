#!/usr/bin/env bash
# Brings the programs of others that tests/http runs against weir into the cache
# (~/.cache/weir/clients-KEY), at the versions below. Nothing of them is kept here.
#
#   tools/clients.sh [SOURCES]   get and build them; SOURCES is a folder with checkouts
#                                vt-cli, vt-go, vt-py, go-api-sdk-virustotal, for where
#                                the Go module proxy does not have them
#   tools/clients.sh --print-dir
#
# What cannot be had is named, and its tests are skipped with that reason.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}

vt_cli=8f6f0fe6526e96f01237b2b7db464131044b3c70              # 1.1.1
vt_go=v1.1.0
sdk=cb3c062c5dab9b98267e4263ea5cd03fe53593e8                 # 2026-03-30
key=$( (echo "$vt_cli $vt_go $sdk"; cat "$here"/tests/clients/*/*) | sha256sum | cut -c1-16)
out=$cache/clients-$key
[ "${1:-}" = --print-dir ] && { echo "$out"; exit 0; }
sources=${1:-}
[ -z "$sources" ] || sources=$(cd "$sources" && pwd) || exit 1
mkdir -p "$out"
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

command -v go >/dev/null || { echo "clients: no go command; install Go 1.25 or newer" >&2; exit 1; }

# have NAME FILE: nothing to do for NAME
have() {
	[ -e "$out/$2" ] && echo "clients: $1 is there" >&2
}

# outcome NAME STATUS: what became of it
outcome() {
	if [ "$2" = 0 ]; then
		rm -f "$out/$1.why"
		echo "clients: $1 built" >&2
	else
		tail -n 1 "$work/log" > "$out/$1.why"
		echo "clients: $1 cannot be had: $(cat "$out/$1.why")" >&2
	fi
}

# checkout NAME: a copy of it to build in, if there is a source
checkout() {
	[ -n "$sources" ] && [ -d "$sources/$1" ] && cp -r "$sources/$1" "$work/$1" && chmod -R u+w "$work/$1"
}

if ! have vt-cli vt; then
	if checkout vt-cli; then
		(cd "$work/vt-cli" && { ! checkout vt-go || go mod edit -replace github.com/VirusTotal/vt-go=../vt-go; } &&
			go build -mod=mod -o "$out/vt" ./vt) >"$work/log" 2>&1
	else
		GOBIN=$out go install "github.com/VirusTotal/vt-cli/vt@$vt_cli" >"$work/log" 2>&1
	fi
	outcome vt-cli $?
fi

if ! have vt-go resume; then
	cp -r "$here/tests/clients/resume" "$work/resume"
	(cd "$work/resume" && { [ ! -d "$work/vt-go" ] && ! checkout vt-go || go mod edit -replace github.com/VirusTotal/vt-go=../vt-go; } &&
		go build -mod=mod -o "$out/resume" .) >"$work/log" 2>&1
	outcome vt-go $?
fi

if ! have go-api-sdk acceptance.test; then
	module=github.com/deploymenttheory/go-api-sdk-virustotal
	if checkout go-api-sdk-virustotal; then
		(cd "$work/go-api-sdk-virustotal" && go test -mod=mod -c -o "$out/acceptance.test" ./virustotal/acceptance) >"$work/log" 2>&1
	else
		mkdir "$work/sdk"
		(cd "$work/sdk" && go mod init weir/sdk && go get "$module/...@$sdk" &&
			go test -c -o "$out/acceptance.test" "$module/virustotal/acceptance") >"$work/log" 2>&1
	fi
	outcome go-api-sdk $?
fi

if ! have "vt-py's examples" examples; then
	if [ -n "$sources" ] && [ -d "$sources/vt-py/examples" ]; then
		cp -r "$sources/vt-py/examples" "$out/examples"
	else
		echo "they are in no package: give a checkout of vt-py" >"$work/log"
		false
	fi
	outcome vt-py $?
fi
echo "$out"
