#!/bin/bash
# Puts the Erlang cookie in its file, then becomes the server. The rest of the environment
# (RABBITMQ_DEFAULT_USER and so on) is read by RabbitMQ itself.
set -euo pipefail

as_rabbitmq() {
  chown -R rabbitmq:rabbitmq /var/lib/rabbitmq /var/log/rabbitmq
  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
}

write_cookie() {
  local file=/var/lib/rabbitmq/.erlang.cookie
  [ -n "${RABBITMQ_ERLANG_COOKIE:-}" ] || return 0
  if [ -e "$file" ] && [ "$(<"$file")" != "$RABBITMQ_ERLANG_COOKIE" ]; then
    echo "warning: $file and RABBITMQ_ERLANG_COOKIE differ; the file is kept" >&2
  elif [ ! -e "$file" ]; then
    (umask 077 && printf %s "$RABBITMQ_ERLANG_COOKIE" >"$file")
  fi
}

if [ "${1:-}" = rabbitmq-server ]; then
  [ "$(id -u)" -ne 0 ] || as_rabbitmq "$@"
  write_cookie
fi
exec "$@"
