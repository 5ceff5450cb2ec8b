#!/bin/bash
# A Docker engine: the one that answers, else Debian's, installed and started when root.
set -euo pipefail
. "$(dirname "$0")/common.sh"

answers() { docker info >/dev/null 2>&1; }

install_engine() {
  [ "$(id -u)" -eq 0 ] ||
    die "no Docker engine answers. Start Docker (or add yourself to the group docker); as root on Debian it is installed for you."
  has apt-get || die "no Docker engine answers. Install Docker for this system and start it, then try again."
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends docker.io iptables jq
}

bounding_arguments() {  # dockerd's flags on a machine whose bounding set is not full
  [ "$("$here/runc-bounded" --missing)" != "[]" ] || return 0
  ! grep -qs '"default-runtime"' /etc/docker/daemon.json || return 0
  install -D "$here/runc-bounded" "$cache/engine/runc-bounded"
  echo "--add-runtime=runc-bounded=$cache/engine/runc-bounded --default-runtime=runc-bounded"
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    systemctl start docker
  else
    local arguments
    read -ra arguments <<<"$(bounding_arguments)"
    # its own session: the engine outlives this shell and its terminal
    setsid nohup dockerd "${arguments[@]}" >"$cache/log/dockerd.log" 2>&1 </dev/null 3>&- &
  fi
}

await_engine() {
  local try
  for ((try = 0; try < 60; try++)); do
    answers && return
    sleep 1
  done
  tail -n 20 "$cache/log/dockerd.log" >&2 || true
  die "Docker's engine was started but does not answer; its log is $cache/log/dockerd.log."
}

answers && exit
has dockerd || step "installing Docker's engine" quietly install-engine install_engine
[ "$(id -u)" -eq 0 ] || die "no Docker engine answers. Start it, then try again."
step "starting Docker's engine" start_engine
await_engine
