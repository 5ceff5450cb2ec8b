#!/bin/bash
# Prints a credential of the release on the cluster: credentials.sh token | worker-key | amqp-url
set -euo pipefail
. "$(dirname "$0")/common.sh"

secret() {  # NAME: as JSON, on standard output alone
  kubectl --context kind-maestro --namespace maestro get secret "$1" --output json ||
    die "Maestro is not on the cluster: run make up."
}

key() {  # of the Secret on standard input
  python3 -c 'import base64, json, sys; print(base64.b64decode(json.load(sys.stdin)["data"][sys.argv[1]]).decode())' "$1"
}

amqp_url() {
  python3 -c '
import base64, json, sys
from urllib.parse import quote
secret = {key: base64.b64decode(value).decode() for key, value in json.load(sys.stdin)["data"].items()}
user, password, vhost = (quote(secret[key], safe="") for key in ("username", "password", "vhost"))
print(f"amqp://{user}:{password}@127.0.0.1:5672/{vhost}")
'
}

case ${1:-} in
  token) secret maestro-auth | key admin-token ;;
  worker-key) secret maestro-auth | key worker-key ;;
  amqp-url) secret maestro-broker | amqp_url ;;
  *) die "usage: credentials.sh token | worker-key | amqp-url" ;;
esac
