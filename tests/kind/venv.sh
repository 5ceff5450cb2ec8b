#!/bin/bash
# Python's packages from a lock file: venv.sh path|make [LOCK], requirements-dev.lock unless told otherwise. One
# virtual environment for each content of the lock file, Python and clone.
set -euo pipefail
. "$(dirname "$0")/common.sh"

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3."
}

python=$(find_python)
lock=$root/${2:-requirements-dev.lock}
[ -r "$lock" ] || die "$lock can't be read: name a lock file of this tree."
id=$({ cat "$lock"; "$python" -VV; echo "$root"; } | sha256sum | cut -c1-12)
venv=$cache/venv-$id

create() {
  rm -rf "$venv"
  "$python" -m venv "$venv" || die "$python cannot make virtual environments: on Debian, apt-get install python3-venv."
  # Python compiles what is imported; compiling all of it takes longer than downloading it.
  "$venv/bin/pip" install --no-compile --require-hashes --requirement "$lock"
  "$venv/bin/pip" install --no-deps --editable "$root"
  touch "$venv/complete"
}

case ${1:-} in
  path) echo "$venv" ;;
  make) [ -e "$venv/complete" ] || step "installing Python's packages in $venv" quietly venv create ;;
  *) die "usage: venv.sh path|make [LOCK]" ;;
esac
