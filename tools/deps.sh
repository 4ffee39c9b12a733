#!/bin/sh
# Installs the Debian packages that are missing, and only those.
#
#   tools/deps.sh run      what `make run` needs: compilers, libraries, Rust
#   tools/deps.sh check    those, and what the tests and checks need
#
# Silent and quick when all are there. Without root or a sudo that asks for no
# password it prints the one line to run and exits 1.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

build="gcc libc6-dev make cmake ninja-build pkg-config git ca-certificates ccache
	libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libsqlite3-dev libmagic-dev libfuzzy-dev
	libarchive-dev
	libssl-dev libseccomp-dev zlib1g-dev
	protobuf-c-compiler libprotobuf-c-dev libprotobuf-dev"
tests="libcmocka-dev clang clang-format clang-tidy cppcheck libclang-rt-14-dev
	python3 python3-venv sqlite3 curl
	libarchive-tools p7zip-full xorriso gcab rpm cpio zip lz4 zstd bzip2 xz-utils binutils man-db mandoc systemd"

case "${1:-}" in
run) wanted=$build ;;
check) wanted="$build $tests" ;;
*) echo "usage: tools/deps.sh run|check" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "deps: not a Debian system, so nothing is installed; weir needs the equivalents of:" $wanted >&2
	"$here/cargo.sh" >/dev/null || { echo "deps: no cargo of version 1.95 or newer" >&2; exit 1; }
	exit 0
fi

# dpkg-query exits 1 when a name is unknown to it; those are then missing.
there=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true)
missing=
for package in $wanted; do
	case "
$there
" in
	*"
installed $package
"*) ;;
	*) missing="$missing $package" ;;
	esac
done
# rustc-web and cargo-web are Debian 12's current Rust beside its old default one.
"$here/cargo.sh" >/dev/null || missing="$missing rustc-web cargo-web"
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then
		sudo=sudo
	else
		echo "deps: packages are missing; run this line, then the same command again:" >&2
		echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
		exit 1
	fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
	# A machine that has just started may hold the lock for its own updates.
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null ||
		{ cat "$log" >&2; echo "deps: apt-get $1 failed; see the lines above" >&2; exit 1; }
}
echo "deps: installing$missing (a minute or two)" >&2
apt update
apt install -y --no-install-recommends $missing
"$here/cargo.sh" >/dev/null || { echo "deps: the installed cargo is older than 1.95" >&2; exit 1; }
echo "deps: done" >&2
