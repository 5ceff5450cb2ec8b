# shellcheck shell=bash
# Sourced: builds programs from the modules pinned in modules/*/go.mod and go.sum.

need_go() {
  has go || die "$1 must be built here, as it can neither be found nor fetched, and that needs Go: install Go 1.26 or newer."
}

version_flags() {  # Kubernetes takes its version from the linker; the others know their own
  local name
  [ "$1" = kubernetes ] || return 0
  for name in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s ' "$name" "$kubernetes_version" \
      "$name" "$(cut -d. -f1 <<<"$kubernetes_version")" "$name" "$(cut -d. -f2 <<<"$kubernetes_version")"
  done
}

go_build() {  # MODULE PACKAGES DIRECTORY: `tool` as PACKAGES means all that go.mod names
  need_go "$1"
  need_disk 6 "$cache" "building $1"
  quietly "build-$1" env CGO_ENABLED=0 GOMODCACHE="$cache/go/mod" GOCACHE="$cache/go/build" \
    GOFLAGS="-mod=readonly -modcacherw -trimpath -buildvcs=false" \
    go -C "$here/modules/$1" build -ldflags="-s -w $(version_flags "$1")" -o "$3/" "$2"
}
