#!/bin/bash
# Makes sure of images by name: images.sh base|postgres|rabbitmq|node|maestro ...
# Present locally, they are used; else pulled, when a registry answers; else built from Debian's packages
# and Go modules, under the same names.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/go.sh"
. "$here/base.sh"
. "$here/node.sh"
cd "$here"

registry_answers() {  # asked once a run
  if [ -z "${registry:-}" ]; then
    registry=no
    ! timeout 15 docker manifest inspect "$base_image" >/dev/null 2>&1 || registry=yes
  fi
  [ "$registry" = yes ]
}

current() {  # IMAGE STAMP: present, and if it is a stand-in, made from these very files
  local label
  label=$(stamp_of "$1") || return 1
  [ -z "$label" ] || [ "$label" = "$2" ]
}

ensure_image() {  # IMAGE BUILDER FILE...: the files are what the stand-in is made from
  local image=$1 builder=$2 stamp
  shift 2
  stamp=$(content_hash "$@")
  current "$image" "$stamp" && return
  if registry_answers && pull "$image"; then
    return
  fi
  step "building a stand-in for $image" "$builder" "$image" "$stamp"
}

pull() {  # kind itself pulls the node image that suits it
  [ "$1" = "$node_image" ] || step "pulling $1" docker pull --quiet "$1"
}

docker_build() {  # LOG ARGUMENT...
  local log=$1
  shift
  quietly "$log" docker build "$@"
}

build_postgres() { docker_build build-postgres --label "$stamp_label=$2" --tag "$1" "$here/postgres"; }

build_rabbitmq() { docker_build build-rabbitmq --label "$stamp_label=$2" --tag "$1" "$here/rabbitmq"; }

forget_old_builds() {
  local tag
  for tag in $(docker images --format '{{.Tag}}' maestro | grep -xE '[0-9a-f]{12}'); do
    [ "$tag" = "$1" ] || docker image rm "maestro:$tag" >/dev/null || true
  done
}

build_maestro() {
  local tag
  docker_build build-maestro --tag maestro:dev "$root"
  tag=$(maestro_tag)
  docker tag maestro:dev "maestro:$tag"
  forget_old_builds "$tag"
}

for name in "$@"; do
  case $name in
    base) ensure_image "$base_image" build_base "${base_files[@]}" ;;
    postgres) ensure_image "$postgres_image" build_postgres "${base_files[@]}" postgres/* ;;
    rabbitmq) ensure_image "$rabbitmq_image" build_rabbitmq "${base_files[@]}" rabbitmq/* ;;
    node) ensure_image "$node_image" build_node "${base_files[@]}" versions.sh go.sh node.sh runc-bounded \
      node/* pods/* "${node_modules[@]}" ;;
    maestro) step "building maestro:dev" build_maestro ;;
    *) die "unknown image $name" ;;
  esac
done
