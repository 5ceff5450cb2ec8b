{{/* A node is drained one replica at a time; of a single replica a budget would block the drain for ever. */}}
{{- define "maestro.disruptionBudget" -}}
{{- if gt (int .values.replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "maestro.metadata" (merge (dict "name" (printf "%s-%s" .root.Release.Name .component)) .) | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "maestro.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end -}}
