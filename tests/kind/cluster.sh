#!/bin/bash
# The kind cluster `maestro`: cluster.sh up IMAGE... | load IMAGE... | down. The images are those it shall hold.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$here"
name=maestro
context=kind-$name
node=$name-control-plane

kubectl_here() { kubectl --context "$context" --request-timeout=5s "$@"; }

exists() { docker container inspect "$node" >/dev/null 2>&1; }

ready() {
  [ "$(docker container inspect --format '{{.State.Running}}' "$node")" = true ] &&
    kubectl_here wait --for=condition=Ready "node/$node" --timeout=3s >/dev/null 2>&1
}

await_ready() {  # SECONDS
  local until=$((SECONDS + $1))
  until ready; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 1
  done
}

know_context() { kubectl config get-contexts "$context" >/dev/null 2>&1 || kind export kubeconfig --name "$name" --quiet; }

revive() {  # the engine was restarted: its node usually comes back with its data
  docker start "$node" >/dev/null
  await_ready 60
}

check_ports() {
  local port
  for port in 8080 5672; do
    ! (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null ||
      die "port $port of 127.0.0.1 is in use by another program; the cluster needs it. Stop that program (ss -ltnp 'sport = :$port' names it), then try again."
  done
}

create() {  # IMAGE...: loaded while Kubernetes starts
  local image=()
  check_ports
  need_disk 3 "$cache" "the cluster"
  ! docker image inspect "$node_image" >/dev/null 2>&1 || image=(--image "$node_image")
  beside ./cluster.sh load "$@"
  quietly create-cluster kind create cluster --config kind.yaml "${image[@]}"
  await_ready 180 || die "the node $node is not Ready: kubectl --context $context describe node $node says why."
  join_beside
}

answers() {  # at once, or after its node was started again
  know_context
  if ready; then
    say "the cluster $name is there"
  else
    say "the cluster $name does not answer: starting its node"
    revive
  fi
}

up() {
  if exists; then
    if answers; then
      load "$@"
      return
    fi
    step "its node does not come back: deleting the cluster" down
  fi
  step "creating the cluster $name" create "$@"
}

in_node() {  # IMAGE: the node knows its name and has the very content that Docker has under it
  local id names
  id=$(docker image inspect --format '{{.Id}}' "$1")
  names=$(docker exec "$node" ctr --namespace=k8s.io images list --quiet)
  grep -qxF "$id" <<<"$names" && grep -qxF "docker.io/library/$1" <<<"$names"
}

stream() {  # IMAGE...: saving and unpacking at once; `kind load` does one after the other
  docker save "$@" | docker exec --interactive "$node" ctr --namespace=k8s.io images import --snapshotter=overlayfs -
}

to_load() {  # official images the node pulls itself
  case $1 in
    maestro:*) ;;
    *) [ -n "$(stamp_of "$1")" ] ;;
  esac
}

await_containerd() {
  local until=$((SECONDS + 120))
  until docker exec "$node" ctr version >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || die "the node $node does not start: docker logs $node says why."
    sleep 0.5
  done
}

load() {
  local image missing=()
  [ "$#" -gt 0 ] || return 0
  await_containerd
  for image in "$@"; do
    to_load "$image" && ! in_node "$image" && missing+=("$image")
  done
  [ "${#missing[@]}" -eq 0 ] ||
    step "loading ${missing[*]} into the cluster" quietly load-images stream "${missing[@]}"
}

down() { quietly delete-cluster kind delete cluster --name "$name"; }

command=$1
shift
"$command" "$@"
