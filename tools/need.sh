#!/bin/sh
# Makes sure that programs are there: installs them with apt-get where that is possible without asking, and otherwise
# says what is missing and how to get it.
set -eu

package_of() {
    case $1 in
        ffmpeg | ffprobe) echo ffmpeg ;;
        node) echo nodejs ;;
        *) echo "$1" ;;
    esac
}

present() {
    case $1 in
        chromium) [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing=
for program in "$@"; do
    present "$program" || missing="$missing $(package_of "$program")"
done
[ -n "$missing" ] || exit 0
# shellcheck disable=SC2086 # a list of packages
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing: $missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "missing: $missing" >&2
    echo "install it, for example: sudo apt-get install $missing" >&2
    echo "(another Chromium can be named with CHROMIUM=/path/to/chrome)" >&2
    exit 1
fi
