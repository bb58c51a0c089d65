#!/bin/sh
# clang-format decides the layout; nobody argues.
set -eu
cd "$1"
missing() { # a skip, or a failure where what tools/setup installs is required
    echo "$1; run: tools/setup check"
    [ "${GPULET_REQUIRE:-}" = 1 ] && exit 1
    exit 77
}
command -v clang-format >/dev/null || missing "clang-format is not installed"
case $(clang-format --version) in
    *"version 14."*) ;;
    *) missing "another clang-format than version 14 lays out differently" ;;
esac
find src tests bench -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run --Werror
