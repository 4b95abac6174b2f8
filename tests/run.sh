#!/usr/bin/env bash
# Runs the whole suite in groups of rooms, a few side by side: most of their time they wait for
# engines. Whoever has done a group takes the next one, so those that take longest come first.
# What each group printed comes whole, one after the other, once all are done.
set -u
cd "$(dirname "$0")/.."
# Servers are started hundreds of times; none shall have to compile itself.
unset PYTHONDONTWRITEBYTECODE

at_once=4
groups=(
  "tests/acceptance"
  "tests/faults"
  "tests/conformance"
  "tests/console tests/docs"
  "tests/packaging tests/plugin tests/fuzz"
  "tests/unit"
  "tests/wire tests/parity"
)
others="" # whatever is in none of them
for room in tests/*/; do
  room=${room%/}
  compgen -G "$room/test_*.py" >/dev/null || continue
  [[ " ${groups[*]} " == *" $room "* ]] || others+="$room "
done
[[ -z $others ]] || groups+=("$others")

outputs=$(mktemp -d)

lane() { # takes one group after the other that nobody has taken yet
  local running=
  trap 'kill "$running" 2>/dev/null; exit 1' TERM
  for number in "${!groups[@]}"; do
    mkdir "$outputs/$number.taken" 2>/dev/null || continue
    # shellcheck disable=SC2086  # a group is a list of rooms
    .venv/bin/python -m pytest -q ${groups[number]} >"$outputs/$number" 2>&1 &
    running=$!
    wait "$running"
    echo $? >"$outputs/$number.status"
  done
}

lanes=()
trap 'kill "${lanes[@]}" 2>/dev/null; rm -rf "$outputs"; exit 1' INT TERM
for ((count = 0; count < at_once; count++)); do
  lane &
  lanes+=($!)
done
wait
status=0
for number in "${!groups[@]}"; do
  cat "$outputs/$number"
  ended=$(cat "$outputs/$number.status" 2>/dev/null || echo 1)
  ((ended == 0)) || status=$ended
done
rm -rf "$outputs"
exit "$status"
