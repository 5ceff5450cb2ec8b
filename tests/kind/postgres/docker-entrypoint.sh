#!/bin/bash
# Initialises an empty PGDATA from the environment, then becomes the server.
set -euo pipefail

read_secret() {  # NAME DEFAULT: sets NAME from itself, or from the file that NAME_FILE names
  local file=${1}_FILE
  if [ -n "${!file:-}" ]; then
    printf -v "$1" %s "$(<"${!file}")"
  else
    printf -v "$1" %s "${!1:-$2}"
  fi
}

as_postgres() {  # the server refuses to run as root: own the folders, then start over as its user
  mkdir -p "$PGDATA"
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
}

check_password() {
  [ -n "$POSTGRES_PASSWORD" ] || [ "${POSTGRES_HOST_AUTH_METHOD:-}" = trust ] && return
  echo "Error: Database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD." >&2
  exit 1
}

create_cluster() {
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" 2>/dev/null || true # the volume's root may not be ours
  # shellcheck disable=SC2086  # the variable holds several arguments
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
}

create_database() {
  [ "$POSTGRES_DB" != postgres ] || return 0
  pg_ctl --wait --options="-c listen_addresses=''" start
  psql --no-password --no-psqlrc --username="$POSTGRES_USER" --dbname=postgres --set=db="$POSTGRES_DB" \
    --set=ON_ERROR_STOP=1 <<<'CREATE DATABASE :"db"'
  pg_ctl --wait --mode=fast stop
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" = postgres ]; then
  [ "$(id -u)" -ne 0 ] || as_postgres "$@"
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    read_secret POSTGRES_PASSWORD ''
    read_secret POSTGRES_USER postgres
    read_secret POSTGRES_DB "$POSTGRES_USER"
    check_password
    create_cluster
    create_database
  fi
  unset POSTGRES_PASSWORD
fi
exec "$@"
