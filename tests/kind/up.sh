#!/bin/bash
# From nothing to a bot's result.
set -euo pipefail
. "$(dirname "$0")/common.sh"
began=$EPOCHREALTIME

beside "$here/venv.sh" make # first needed by the demo
"$here/install.sh"
join_beside
"$here/demo.sh"
say "make up: $(seconds_since "$began")"

cat <<'TEXT'

  REST    http://127.0.0.1:8080/api/v1      its pages: http://127.0.0.1:8080/docs
  AMQP    127.0.0.1:5672                    make amqp-url prints the URL with its password
  kubectl context kind-maestro, namespaces maestro and maestro-bots

  Next:
    kubectl --context kind-maestro --namespace maestro-bots get automations
    curl -sH "Authorization: Bearer $(make -s token)" http://127.0.0.1:8080/api/v1/automations
    kubectl --context kind-maestro apply --filename examples/02-schedule/
TEXT
