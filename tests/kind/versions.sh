# shellcheck shell=bash disable=SC2034
# What is downloaded or built when it is not there. The Go modules' versions are in modules/*/go.mod.
kubernetes_version=1.34.4
kind_version=0.33.0
helm_version=3.19.5

base_image=debian:trixie-slim
postgres_image=postgres:17
rabbitmq_image=rabbitmq:4.0-management
node_image=kindest/node:v$kubernetes_version
