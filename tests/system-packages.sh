#!/usr/bin/env bash
# Installs what the tests use of the system: engines beside the embedded one, PostgreSQL, tools.
# Where apt may not be used it says what the tests will skip, and that is no failure.
set -u
wanted=()
need() { # command package
  command -v "$1" >/dev/null 2>&1 || [ -x "/usr/lib/postgresql/15/bin/$1" ] || wanted+=("$2")
}
need redis-server redis-server
need memcached memcached
need memccapable libmemcached-tools
need chromium chromium
if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && ! command -v postgres >/dev/null; then
  wanted+=(postgresql)
fi
[ ${#wanted[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing: ${wanted[*]}"
  # RUNLEVEL=1 keeps the packages from starting services: the tests start their own.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  if apt-get update -qq && apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null; then
    exit 0
  fi
  echo "apt-get could not install them"
fi
echo "not installed: ${wanted[*]} -- the tests that need them are skipped"
exit 0
