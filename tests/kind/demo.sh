#!/bin/bash
# The first bot: applied, executed, its log lines live and its result as a table.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"
venv=$("$here/venv.sh" path)

apply_example() {
  kubectl --context kind-maestro apply --filename examples/01-nfe-summary/
  kubectl --context kind-maestro --namespace maestro-bots wait --for=condition=Ready --timeout=120s \
    automations.rps-maestro.io/nfe-summary
}

execute_example() {
  MAESTRO_API_URL=http://127.0.0.1:8080/api/v1 MAESTRO_TOKEN=$("$here/credentials.sh" token) \
    "$venv/bin/maestro" execute nfe-summary --follow
}

step "applying examples/01-nfe-summary" apply_example
step "executing nfe-summary" execute_example
