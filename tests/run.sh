#!/usr/bin/env bash
# Runs the whole suite in two halves side by side, one a core: the rooms that mostly compute, and
# those that mostly wait for engines. Prints the first half whole once the second is done.
set -u
cd "$(dirname "$0")/.."
quick=(tests/unit tests/wire tests/parity tests/conformance tests/docs)
patient=()
for room in tests/*/; do
  room=${room%/}
  compgen -G "$room/**/test_*.py" >/dev/null || compgen -G "$room/test_*.py" >/dev/null || continue
  [[ " ${quick[*]} " == *" $room "* ]] || patient+=("$room")
done
output=$(mktemp)
trap 'rm -f "$output"' EXIT
.venv/bin/python -m pytest -q "${quick[@]}" >"$output" 2>&1 &
first=$!
trap 'kill "$first" 2>/dev/null; rm -f "$output"' INT TERM
.venv/bin/python -m pytest -q "${patient[@]}"
second_status=$?
wait "$first"
first_status=$?
cat "$output"
exit $((first_status > second_status ? first_status : second_status))
