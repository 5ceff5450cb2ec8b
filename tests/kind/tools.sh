#!/bin/bash
# kind, helm and kubectl: the ones on PATH, else downloaded, else built with Go.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$here/go.sh"

os=$(uname -s | tr '[:upper:]' '[:lower:]')
arch=$(uname -m | sed -e 's/x86_64/amd64/' -e 's/aarch64/arm64/')

fetch() { curl -fsSL --connect-timeout 4 --max-time 180 -o "$2" "$1"; }

verified() {  # FILE CHECKSUM_FILE
  [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$(awk '{ print $1 }' "$2")" ]
}

download() {  # FILE_URL CHECKSUM_URL FILE: false when the site cannot be reached
  fetch "$2" "$3.sha256" 2>/dev/null && fetch "$1" "$3" || return 1
  verified "$3" "$3.sha256" || die "the checksum of $1 is wrong: nothing of it was kept."
}

download_kind() {
  local url=https://github.com/kubernetes-sigs/kind/releases/download/v$kind_version/kind-$os-$arch
  download "$url" "$url.sha256sum" "$1/kind"
}

download_kubectl() {
  local url=https://dl.k8s.io/release/v$kubernetes_version/bin/$os/$arch/kubectl
  download "$url" "$url.sha256" "$1/kubectl"
}

download_helm() {
  local url=https://get.helm.sh/helm-v$helm_version-$os-$arch.tar.gz
  download "$url" "$url.sha256sum" "$1/helm.tar.gz" &&
    tar -xzf "$1/helm.tar.gz" -C "$1" --strip-components=1 "$os-$arch/helm"
}

build_tool() {
  case $1 in
    kind) go_build "$2" kind sigs.k8s.io/kind ;;
    helm) go_build "$2" cluster helm.sh/helm/v3/cmd/helm ;;
    kubectl) go_build "$2" cluster k8s.io/kubernetes/cmd/kubectl ;;
  esac
}

obtain() {  # TOOL, kept under its name in the cache
  local scratch
  scratch=$(mktemp -d)
  if ! "download_$1" "$scratch"; then
    build_tool "$1" "$scratch"
  fi
  install "$scratch/$1" "$cache/bin/$1"
  rm -rf "$scratch"
}

for tool in kind helm kubectl; do
  has "$tool" || step "fetching $tool" obtain "$tool"
done
