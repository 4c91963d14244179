#!/bin/sh
# The figures of the lab: links that lose 1 %, twenty deaths, a squeezed link, ten minutes of chaos with thirty nodes, and every
# scenario many times. About an hour; reports are written to target/lab/.
#   PASSES=20    times that every scenario of examples/lab/ is run
#   CHAOS=10m    how long things fail by chance
set -eu

levada=${1:?usage: tools/lab.sh LEVADA}
failed=

tools/lab-source.sh target/lab/six.mp4

run() {
    name=$(basename "$1" .toml)
    "$levada" --quiet lab run "$1" --report "target/lab/$name.html" || failed="$failed
  $1"
}

for file in squeezed kills kills-far lossy; do
    run "examples/lab/figures/$file.toml"
    echo
done
"$levada" --quiet lab chaos examples/lab/figures/thirty.toml --for "${CHAOS:-10m}" || failed="$failed
  chaos in examples/lab/figures/thirty.toml"
echo
pass=0
while [ $pass -lt "${PASSES:-20}" ]; do
    pass=$((pass + 1))
    for file in examples/lab/*.toml; do
        run "$file" > target/lab/last.txt || true
        case $failed in
            *"$file"*) cat target/lab/last.txt ;;
        esac
    done
    echo "pass $pass of ${PASSES:-20}: ${failed:-all scenarios held}"
done

[ -z "$failed" ] || { echo "did not hold:$failed"; exit 1; }
