# shellcheck shell=bash
# Sourced: stands in for kindest/node, made from Go modules and Debian's packages.

kubernetes_packages=(k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubeadm,kubectl,kubelet})

node_modules=(modules/{cluster,coredns,local-path-provisioner}/go.{mod,sum} modules/cluster/pause/main.go modules/coredns/main.go)

build_programs() {  # DIRECTORY: pods/bin for the images of the node's pods, node/bin for the node itself
  mkdir -p "$1/pods/bin" "$1/node/bin"
  step "building Kubernetes" go_build "$1/pods/bin" cluster "${kubernetes_packages[@]}" go.etcd.io/etcd/server/v3 ./pause
  step "building CoreDNS" go_build "$1/pods/bin" coredns .
  step "building local-path-provisioner" go_build "$1/pods/bin" local-path-provisioner tool
  mv "$1/pods/bin/server" "$1/pods/bin/etcd" # Go names a program after its folder
  mv "$1"/pods/bin/{kubeadm,kubectl,kubelet} "$1/node/bin"
}

ensure_programs() {  # in the cache, for each content of the modules
  programs=$cache/node/$(content_hash versions.sh go.sh node.sh "${node_modules[@]}")
  [ ! -d "$programs" ] || return 0
  rm -rf "$programs.new"
  build_programs "$programs.new"
  mv "$programs.new" "$programs"
}

kubeadm_image() {  # NAME: under which name and tag kubeadm expects it
  "$programs/node/bin/kubeadm" config images list --kubernetes-version "v$kubernetes_version" 2>/dev/null | grep "/$1:"
}

build_pod_images() {  # one image of all programs, under the name of each; their names go to pod_images
  local name tag
  pod_images=(maestro.invalid/pods:1)
  cp pods/Dockerfile "$programs/pods"
  docker_build build-pods --tag "${pod_images[0]}" "$programs/pods"
  for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd coredns pause; do
    tag=$(kubeadm_image "$name")
    case $name in
      coredns | pause) # started without a command
        docker_build "build-$name" --tag "$tag" - <<<"FROM ${pod_images[0]}"$'\n'"ENTRYPOINT [\"$name\"]" ;;
      *) docker tag "${pod_images[0]}" "$tag" ;;
    esac
    pod_images+=("$tag")
  done
}

build_node() {  # IMAGE STAMP
  need_disk 4 "$cache" "building images"
  ensure_programs
  build_pod_images
  cp node/* runc-bounded "$programs/node"
  mkdir -p "$programs/node/images"
  docker save --output "$programs/node/images/pods.tar" "${pod_images[@]}"
  docker_build build-node --build-arg "KUBERNETES=v$kubernetes_version" --build-arg "PAUSE=$(kubeadm_image pause)" \
    --label "$stamp_label=$2" --tag "$1" "$programs/node"
  docker image rm "${pod_images[@]}" >/dev/null
  rm -r "$programs/node/images"
}
