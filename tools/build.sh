#!/bin/sh
# Configures and builds a preset, doing only what is left to do.
#
#   tools/build.sh PRESET [TARGET...]
#
# Objects are shared between clones of the project through ccache: the paths
# below this folder are made relative before they are compared.
set -eu
cd "$(dirname "$0")/.."
preset=${1:?usage: tools/build.sh PRESET [TARGET...]}
shift
export CCACHE_BASEDIR="$PWD"
tools/engine_build.sh >/dev/null
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset"
# Ten failures are enough to go on with; the first alone hides the others.
exec cmake --build "build/$preset" ${1:+--target "$@"} -- -k 10
