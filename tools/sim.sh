#!/bin/sh
# Runs the large scenarios of examples/sim/ with many seeds. Those that need measurements which are not part of this
# project are skipped where these are not found, and named at the end.
#   SEEDS=10                 seeds of each
#   LEVADA_TOPOLOGIES=DIR    where cities-rtt.bin and zoo/ are (otherwise ../shared/topologies)
set -eu

levada=${1:?usage: tools/sim.sh LEVADA}
seeds=${SEEDS:-10}
topologies=${LEVADA_TOPOLOGIES:-../shared/topologies}
skipped=
events=0
notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT
touch "$notes/failed"
# What is piped below is what goes to standard error; the tables go here.
exec 3>&1

for scenario in examples/sim/*.toml; do
    case $scenario in
        */small-*) continue ;;
    esac
    # Files are named by the keys `cities` and `file`.
    needs=$(sed -n 's/^\(cities\|file\) = "\([^"]*\)".*/\2/p' "$scenario")
    if [ -n "$needs" ] && [ ! -f "$topologies/$needs" ] && [ ! -f "examples/sim/$needs" ]; then
        skipped="$skipped
  $scenario needs $needs"
        continue
    fi
    # Worlds that take minutes each say how many seeds are enough.
    enough=$(sed -n 's/^# seeds: //p' "$scenario")
    { LEVADA_TOPOLOGIES=$topologies "$levada" --quiet sim "$scenario" --seeds "${enough:-$seeds}" 2>&1 >&3 ||
        echo "  $scenario" >> "$notes/failed"; } | tee "$notes/said" >&2
    played=$(sed -n 's/^\([0-9]*\) events in .*/\1/p' "$notes/said")
    events=$((events + ${played:-0}))
    echo
done

echo "$events events in all"
[ -z "$skipped" ] || echo "skipped, since files are not there (set LEVADA_TOPOLOGIES):$skipped"
[ ! -s "$notes/failed" ] || { echo "did not hold:"; cat "$notes/failed"; exit 1; }
