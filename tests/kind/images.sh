#!/bin/bash
# Makes sure of images by name: images.sh base|postgres|rabbitmq|node ...
# Present locally, they are used; else pulled, when a registry answers; else built from Debian's packages
# and Go modules, under the same names.
. "$(dirname "$0")/common.sh"
. "$here/go.sh"
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
  stamp=$(content_hash images.sh versions.sh "$@")
  current "$image" "$stamp" && return
  if registry_answers; then
    step "pulling $image" docker pull -q "$image"
  else
    step "building a stand-in for $image" "$builder" "$image" "$stamp"
  fi
}

bootstrap_tool() {
  ! has mmdebstrap || return 0
  has apt-get && [ "$(id -u)" -eq 0 ] ||
    die "no registry answers, so Debian's base image must be built here, and that needs Debian (or Ubuntu) with mmdebstrap."
  quietly install-mmdebstrap env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends mmdebstrap debian-archive-keyring
}

build_base() {  # Debian, trusting the certificate authorities that this machine trusts
  local archive path excludes=()
  bootstrap_tool
  need_disk 4 "$cache" "building images"
  for path in doc man locale info; do
    excludes+=("--dpkgopt=path-exclude=/usr/share/$path/*")
  done
  archive=$(mktemp --suffix=.tar)
  # shellcheck disable=SC2016  # mmdebstrap gives the hook its folder as $1
  quietly build-base mmdebstrap --variant=minbase --include=ca-certificates "${excludes[@]}" \
    --customize-hook='cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null || true' \
    --customize-hook='chroot "$1" update-ca-certificates' trixie "$archive"
  docker import --change 'CMD ["bash"]' --change "LABEL $stamp_label=$2" "$archive" "$1" >/dev/null
  rm "$archive"
}

docker_build() {  # LOG ARGUMENT...
  local log=$1
  shift
  quietly "$log" docker build "$@"
}

build_postgres() { docker_build build-postgres --label "$stamp_label=$2" --tag "$1" "$here/postgres"; }

build_rabbitmq() { docker_build build-rabbitmq --label "$stamp_label=$2" --tag "$1" "$here/rabbitmq"; }

kubeadm_image() {  # NAME: under which name and tag kubeadm expects it
  "$binaries/kubeadm" config images list --kubernetes-version "v$kubernetes_version" 2>/dev/null | grep "/$1:"
}

node_images() {  # TARGET IMAGE, a line for each image in the node
  local name
  for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd coredns pause; do
    echo "$name $(kubeadm_image "$name")"
  done
  echo "local-path-provisioner maestro.invalid/local-path-provisioner:1"
  echo "local-path-helper maestro.invalid/local-path-helper:1"
}

node_binaries() {  # built once per content of the modules, in the cache
  local module
  binaries=$cache/node/$(content_hash versions.sh go.sh modules/{kubernetes,etcd,coredns,local-path-provisioner,pause}/go.mod)
  [ ! -e "$binaries/complete" ] || return 0
  mkdir -p "$binaries"
  for module in kubernetes etcd coredns local-path-provisioner; do
    step "building $module" go_build "$module" tool "$binaries"
  done
  go_build pause . "$binaries"
  mv "$binaries/v3" "$binaries/etcd" 2>/dev/null || true # Go names it after the module's major version
  touch "$binaries/complete"
}

build_node() {
  local context target image images=()
  node_binaries
  need_disk 4 "$cache" "building images"
  context=$(mktemp -d)
  cp -r "$here"/node/* "$here/runc-bounded" "$context"
  cp -r "$binaries" "$context/bin"
  mkdir "$context/images"
  while read -r target image; do
    docker_build "build-$target" --file "$context/Dockerfile.images" --target "$target" --tag "$image" "$context"
    images+=("$image")
  done < <(node_images)
  docker save --output "$context/images/control-plane.tar" "${images[@]}"
  docker_build build-node --build-arg "KUBERNETES=v$kubernetes_version" --build-arg "PAUSE=$(kubeadm_image pause)" \
    --label "$stamp_label=$2" --tag "$1" "$context"
  docker image rm "${images[@]}" >/dev/null
  rm -rf "$context"
}

build_maestro() {
  docker_build build-maestro --tag maestro:dev "$root"
  docker tag maestro:dev "maestro:$(maestro_tag)"
}

for name in "$@"; do
  case $name in
    base) ensure_image "$base_image" build_base ;;
    postgres) ensure_image "$postgres_image" build_postgres postgres/* ;;
    rabbitmq) ensure_image "$rabbitmq_image" build_rabbitmq rabbitmq/* ;;
    node) registry_answers || ensure_image "$node_image" build_node runc-bounded node/* modules/*/go.{mod,sum} ;;
    maestro) step "building maestro:dev" build_maestro ;;
    *) die "unknown image $name" ;;
  esac
done
