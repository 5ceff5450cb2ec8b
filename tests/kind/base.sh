# shellcheck shell=bash
# Sourced: stands in for debian:trixie-slim, made from Debian's packages.

shopt -s nullglob
base_files=(base.sh docker-clean /usr/local/share/ca-certificates/*.crt) # what every stand-in rests on

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
    --customize-hook="copy-in $here/docker-clean /etc/apt/apt.conf.d" \
    --customize-hook='rm -f "$1"/var/cache/apt/*.bin' \
    --customize-hook='chroot "$1" update-ca-certificates' trixie "$archive"
  docker import --change 'CMD ["bash"]' --change "LABEL $stamp_label=$2" "$archive" "$1" >/dev/null
  rm "$archive"
}
