#!/bin/bash
# The load driver, built from driver/: driver.sh path | make. One program for each content of its source.
set -euo pipefail
. "$(dirname "$0")/../kind/common.sh"

source_folder=$root/tests/bench/driver
program=$cache/bin/bench-driver-$(cd "$source_folder" && content_hash go.mod ./*.go)

build() {
  has go || die "The load driver must be built here, and that needs Go: install Go 1.26 or newer."
  rm -f "$cache"/bin/bench-driver-*
  quietly build-bench-driver env CGO_ENABLED=0 GOCACHE="$cache/go/build" GOFLAGS=-buildvcs=false \
    go -C "$source_folder" build -o "$program" .
}

case ${1:-} in
  path) echo "$program" ;;
  make) [ -x "$program" ] || step "building the load driver" build ;;
  *) die "usage: driver.sh path | make" ;;
esac
