#!/usr/bin/env bash
# Runs the whole suite in four groups of rooms side by side: most of their time they wait for
# engines. What each group printed comes whole, one after the other, once all are done.
set -u
cd "$(dirname "$0")/.."
# Servers are started hundreds of times; none shall have to compile itself.
unset PYTHONDONTWRITEBYTECODE

groups=(
  "tests/conformance tests/unit tests/wire tests/parity"
  "tests/acceptance"
  "tests/faults"
  "" # whatever is in none of them
)
for room in tests/*/; do
  room=${room%/}
  compgen -G "$room/test_*.py" >/dev/null || [[ $room == tests/unit ]] || continue
  [[ " ${groups[*]} " == *" $room "* ]] || groups[3]+="$room "
done

outputs=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$outputs"' INT TERM
for number in "${!groups[@]}"; do
  # shellcheck disable=SC2086  # a group is a list of rooms
  .venv/bin/python -m pytest -q ${groups[number]} >"$outputs/$number" 2>&1 &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
  wait "$pid" || status=$?
done
cat "$outputs"/*
rm -rf "$outputs"
exit "$status"
