# shellcheck shell=bash disable=SC2034
# Sourced by the scripts here: the cache, the versions, and how a step is told.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${MAESTRO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/maestro}
mkdir -p "$cache/bin" "$cache/log"
PATH=$PATH:$cache/bin

. "$here/versions.sh"

# Debian's docker.io brings no buildx; every Dockerfile here builds with either builder.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

exec 3>&2          # the terminal, also while `quietly` has stderr in a log
running_log=
beside_group=

on_exit() {
  local status=$1
  [ -z "$beside_group" ] || kill -- "-$beside_group" 2>/dev/null || true
  [ "$status" -ne 0 ] && [ -n "$running_log" ] || return 0
  tail -n 30 "$running_log" >&3
  printf 'error: the step above failed; all of its output is in %s\n' "$running_log" >&3
}
trap 'on_exit $?' EXIT

die() {
  running_log=
  printf 'error: %s\n' "$*" >&3
  exit 1
}

say() { printf '==> %s\n' "$*"; }

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", to - from }'; }

step() {  # TEXT COMMAND...: says it, does it, says how long it took
  local text=$1 began=$EPOCHREALTIME
  shift
  say "$text"
  "$@"
  say "$text: $(seconds_since "$began")"
}

quietly() {  # LOG COMMAND...: its output goes to a log, the end of which is shown if it fails
  running_log=$cache/log/$1.log
  shift
  "$@" >"$running_log" 2>&1 3>&-
  running_log=
}

beside() {  # COMMAND...: runs meanwhile, in a process group of its own so that it ends when this script does
  set -m
  "$@" </dev/null &
  beside_group=$!
  set +m
}

join_beside() {
  wait "$beside_group"
  beside_group=
}

has() { command -v "$1" >/dev/null 2>&1; }

need_disk() {  # GIB DIRECTORY WHAT: stop before a build that would fill the disk half way
  local free
  free=$(($(df -Pk "$2" | awk 'NR == 2 { print $4 }') / 1024 / 1024))
  [ "$free" -ge "$1" ] || die "$3 needs $1 GiB free on the disk of $2, which has $free GiB."
}

content_hash() {  # FILE...: twelve characters that change with any name or content
  sha256sum "$@" | sha256sum | cut -c1-12
}

stamp_label=rps-maestro.io/stand-in # a hash of what a stand-in was made from; official images lack it

stamp_of() {  # IMAGE: empty for an official image, false when there is none
  docker image inspect --format "{{with .Config.Labels}}{{index . \"$stamp_label\"}}{{end}}" "$1" 2>/dev/null
}

maestro_tag() {  # of maestro:dev, by its content
  docker image inspect --format '{{.Id}}' maestro:dev | cut -d: -f2 | cut -c1-12
}
