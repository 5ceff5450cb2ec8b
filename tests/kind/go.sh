# shellcheck shell=bash
# Sourced: builds programs from the modules pinned in modules/*/go.mod and go.sum. The module `cluster` holds
# Kubernetes and all that shares most of its packages with it, so that they are compiled once.

version_flags() {  # Kubernetes, and the one Helm renders for, take their versions from the linker
  local major minor package
  major=$(cut -d. -f1 <<<"$kubernetes_version")
  minor=$(cut -d. -f2 <<<"$kubernetes_version")
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s ' \
      "$package" "$kubernetes_version" "$package" "$major" "$package" "$minor"
  done
  for package in helm.sh/helm/v3/pkg/chartutil helm.sh/helm/v3/pkg/lint/rules; do
    printf -- '-X %s.k8sVersionMajor=%s -X %s.k8sVersionMinor=%s ' "$package" "$major" "$package" "$minor"
  done
  printf -- '-X helm.sh/helm/v3/internal/version.version=v%s' "$helm_version"
}

go_build() {  # DIRECTORY MODULE PACKAGE...
  local directory=$1 module=$2
  shift 2
  has go || die "$module must be built here, as it can be neither found nor fetched, and that needs Go: install Go 1.26 or newer."
  need_disk 6 "$cache" "building $module"
  quietly "build-$module" env CGO_ENABLED=0 GOMODCACHE="$cache/go/mod" GOCACHE="$cache/go/build" \
    GOFLAGS="-mod=readonly -modcacherw -trimpath -buildvcs=false" \
    go -C "$here/modules/$module" build -ldflags="-s -w $(version_flags)" -o "$directory/" "$@"
}
