#!/usr/bin/env bash
# Copies crds/ into the chart and renders manifests/install.yaml from it; --check only says whether both are up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:${MAESTRO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/maestro}/bin

chart=helm/maestro
copies=$chart/files/crds
manifest=manifests/install.yaml

render() {
  cat <<'YAML'
# Maestro with its defaults, in namespace maestro, rendered from helm/maestro by `make generate`: do not edit.
#
#   kubectl apply --server-side -f manifests/install.yaml
#
# It can be applied again, over an older version too. With Helm you can change values, run `helm test` and uninstall.
apiVersion: v1
kind: Namespace
metadata:
  name: maestro
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
YAML
  # Helm's hooks mean nothing to kubectl: bootstrap is a plain Job here, and the pods wait for its Secrets.
  helm template maestro "$1" --namespace maestro --kube-version 1.34.0 --skip-tests --set bootstrap.asHook=false |
    sed 's/[[:space:]]*$//; s/app.kubernetes.io\/managed-by: Helm/app.kubernetes.io\/managed-by: kubectl/'
}

generate() {
  mkdir -p "$copies" "$(dirname "$manifest")"
  rm -f "$copies"/*.yaml
  cp crds/*.yaml "$copies"
  render "$chart" >"$manifest.new"
  mv "$manifest.new" "$manifest"
}

check() {
  diff --recursive --brief crds "$copies" && diff -u "$manifest" <(render "$chart") && return
  echo "The chart's copies are not up to date: run make generate and commit what it changes." >&2
  return 1
}

case ${1:-} in
  --check) check ;;
  '') generate ;;
  *) echo "usage: $0 [--check]" >&2 && exit 2 ;;
esac
