#!/bin/sh
# Every header compiles alone, so that the order of includes never matters.
set -eu
cd "$1"
failed=0
count=0
for header in $(find src -name '*.h' | sort); do
    if printf '#include "%s"\nextern int gpulet_headers;\n' "$header" | ${CC:-cc} -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -DGPULET_SOURCE_DIR='""' -DGPULET_BIN_DIR='""' -I. -Isrc -Itests \
        -fsyntax-only -x c - 2>/tmp/headers.$$; then
        count=$((count + 1))
    else
        cat /tmp/headers.$$
        echo "$header does not compile alone"
        failed=$((failed + 1))
    fi
done
rm -f /tmp/headers.$$
echo "$count passed, $failed failed"
[ "$failed" = 0 ]
