#!/bin/bash
# The cluster, and Maestro on it from this tree.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$here"

./engine.sh
./tools.sh
./images.sh base
beside ./images.sh node # compiling needs the cores, the other images mostly the network
./images.sh postgres rabbitmq maestro
join_beside

# The tag follows the content: a changed image rolls the pods, an unchanged one rolls nothing.
tag=$(maestro_tag)
./cluster.sh up maestro:dev "maestro:$tag" "$postgres_image" "$rabbitmq_image"

install_chart() {
  helm upgrade --install maestro "$root/helm/maestro" --kube-context kind-maestro --namespace maestro \
    --create-namespace --values values.yaml --set-string "image.tag=$tag" --wait --timeout 5m
}

step "installing Maestro" quietly install-chart install_chart
