{{/* The data volume of a bundled server. Immutable once made, so no labels that change with a version. */}}
{{- define "maestro.dataVolumeClaim" -}}
- metadata:
    name: data
    labels:
      {{- include "maestro.selectorLabels" . | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .values.storage.className }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .values.storage.size }}
{{- end -}}
