{{/* Labels that identify the pods of a component: part of immutable selectors, so never a version here. */}}
{{- define "maestro.selectorLabels" -}}
app.kubernetes.io/name: maestro
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object. The chart's version is on objects only: on pod templates it would roll every pod at each upgrade. */}}
{{- define "maestro.labels" -}}
{{ include "maestro.selectorLabels" . }}
app.kubernetes.io/part-of: maestro
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* name, labels and annotations of an object: dict root, component, name, and optionally namespace ("" for cluster-scoped), annotations. */}}
{{- define "maestro.metadata" -}}
name: {{ .name }}
{{- $namespace := .root.Release.Namespace }}
{{- if hasKey . "namespace" }}{{ $namespace = .namespace }}{{ end }}
{{- with $namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "maestro.labels" . | nindent 2 }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod template: dict root, component, values, and optionally annotations, metrics (true: it has some). */}}
{{- define "maestro.podMetadata" -}}
labels:
  {{- include "maestro.selectorLabels" . | nindent 2 }}
  {{- with merge dict .root.Values.commonLabels (default dict .values.podLabels) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $found := dict }}
{{- with .root.Values.metrics }}
{{- if and $.metrics .enabled .scrapeAnnotations (not .podMonitor.enabled) }}
{{- $found = dict "prometheus.io/scrape" "true" "prometheus.io/port" "9090" "prometheus.io/path" "/metrics" }}
{{- end }}
{{- end }}
{{- with merge dict (default dict .annotations) (default dict .values.podAnnotations) $found }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* [registry/]repository:tag or @digest: dict root, image. */}}
{{- define "maestro.image" -}}
{{- with .image.registry | default .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "maestro.ownImage" -}}
{{ include "maestro.image" (dict "root" . "image" .Values.image) }}
{{- end -}}

{{- define "maestro.runnerImage" -}}
{{- if .Values.worker.image.repository -}}
{{ include "maestro.image" (dict "root" . "image" .Values.worker.image) }}
{{- else -}}
{{ include "maestro.ownImage" . }}
{{- end -}}
{{- end -}}

{{/* Pod Security "restricted". fsGroup gives provisioned volumes to the user; hostPath-like ones ignore it. */}}
{{- define "maestro.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
{{- if .volume }}
fsGroup: {{ .user }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "maestro.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a pod runs: dict root, component, values. Replicas spread by default; a hard rule would block small clusters. */}}
{{- define "maestro.scheduling" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else if gt (int (default 1 .values.replicas)) 1 }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "maestro.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "maestro.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-database" .Release.Name) }}
{{- end -}}

{{- define "maestro.brokerSecret" -}}
{{ .Values.broker.existingSecret | default (printf "%s-broker" .Release.Name) }}
{{- end -}}

{{- define "maestro.authSecret" -}}
{{ .Values.auth.existingSecret | default (printf "%s-auth" .Release.Name) }}
{{- end -}}

{{/* One environment variable from a Secret: dict name, secret, key. */}}
{{- define "maestro.envFromSecret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{- define "maestro.databaseEnv" -}}
{{- $own := not .Values.database.existingSecret -}}
{{ include "maestro.envFromSecret" (dict "name" "MAESTRO_DATABASE_URI" "secret" (include "maestro.databaseSecret" .) "key" (ternary "uri" .Values.database.uriKey $own)) }}
{{- with and (not $own) .Values.database.directUriKey }}
{{ include "maestro.envFromSecret" (dict "name" "MAESTRO_DATABASE_DIRECT_URI" "secret" (include "maestro.databaseSecret" $) "key" .) }}
{{- end }}
- name: MAESTRO_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
{{- end -}}

{{- define "maestro.brokerEnv" -}}
{{- $own := not .Values.broker.existingSecret -}}
{{- $secret := include "maestro.brokerSecret" . -}}
{{ include "maestro.envFromSecret" (dict "name" "MAESTRO_BROKER_URI" "secret" $secret "key" (ternary "uri" .Values.broker.uriKey $own)) }}
{{- with ternary "management-uri" .Values.broker.managementUriKey $own }}
{{ include "maestro.envFromSecret" (dict "name" "MAESTRO_BROKER_MANAGEMENT_URI" "secret" $secret "key" .) }}
{{- end }}
{{- end -}}

{{- define "maestro.adminTokenEnv" -}}
{{- $key := ternary .Values.auth.adminTokenKey "admin-token" (ne .Values.auth.existingSecret "") -}}
{{ include "maestro.envFromSecret" (dict "name" "MAESTRO_ADMIN_TOKEN" "secret" (include "maestro.authSecret" .) "key" $key) }}
{{- end -}}

{{- define "maestro.workerKeyEnv" -}}
{{- $key := ternary .Values.auth.workerKeyKey "worker-key" (ne .Values.auth.existingSecret "") -}}
{{ include "maestro.envFromSecret" (dict "name" "MAESTRO_WORKER_KEY" "secret" (include "maestro.authSecret" .) "key" $key) }}
{{- end -}}

{{- define "maestro.apiUrl" -}}
http://{{ .Release.Name }}-api.{{ .Release.Namespace }}.svc{{ if ne (int .Values.api.service.port) 80 }}:{{ .Values.api.service.port }}{{ end }}/api/v1
{{- end -}}

{{/* Settings that are no secret; the same for operator, api and dispatcher. */}}
{{- define "maestro.commonEnv" -}}
- name: MAESTRO_RELEASE_NAMESPACE
  value: {{ .Release.Namespace | quote }}
- name: MAESTRO_DEFINITIONS_NAMESPACE
  value: {{ .Values.api.definitionsNamespace | quote }}
- name: MAESTRO_WATCH_NAMESPACES
  value: {{ ternary "*" (join "," .Values.watchNamespaces) .Values.clusterWide | quote }}
- name: MAESTRO_SHARED_QUEUES
  value: {{ join "," .Values.queues.shared | quote }}
- name: MAESTRO_DEFAULT_TIME_ZONE
  value: {{ .Values.defaultTimeZone | quote }}
{{- if .Values.metrics.enabled }}
- name: MAESTRO_METRICS_PORT
  value: "9090"
{{- end }}
{{- end -}}

{{- define "maestro.metricsPort" -}}
{{- if .Values.metrics.enabled -}}
- name: metrics
  containerPort: 9090
{{- end -}}
{{- end -}}

{{/* The init container of every process. The program itself waits for the database. */}}
{{- define "maestro.migrateContainer" -}}
- name: migrate
  image: {{ include "maestro.ownImage" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [maestro, migrate]
  env:
    {{- include "maestro.databaseEnv" . | nindent 4 }}
    {{- include "maestro.brokerEnv" . | nindent 4 }}
  resources:
    {{- toYaml .Values.migrate.resources | nindent 4 }}
  securityContext:
    {{- include "maestro.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    {{- include "maestro.volumeMounts" . | nindent 4 }}
{{- end -}}

{{/* With a read-only root, /tmp and HOME are what a process may write to. */}}
{{- define "maestro.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: home
  mountPath: /home/maestro
{{- end -}}

{{- define "maestro.volumes" -}}
- name: tmp
  emptyDir: {}
- name: home
  emptyDir: {}
{{- end -}}

{{/* Watched namespaces that the chart may make: all but the release's own, which Helm makes. */}}
{{- define "maestro.botNamespaces" -}}
{{- without (uniq (append .Values.watchNamespaces .Values.api.definitionsNamespace)) .Release.Namespace | join "," -}}
{{- end -}}

{{/* What the schema cannot see: values that contradict each other. */}}
{{- define "maestro.validate" -}}
{{- if gt (len .Release.Name) 40 -}}
{{- fail (printf "The release name %q has %d characters; Services and StatefulSets named after it allow 40." .Release.Name (len .Release.Name)) -}}
{{- end -}}
{{- $definitions := .Values.api.definitionsNamespace -}}
{{- if eq $definitions .Release.Namespace -}}
{{- fail (printf "api.definitionsNamespace is %q, the namespace of this release. Who may make Automations there could read the release's Secrets: name another one, for example maestro-bots." $definitions) -}}
{{- end -}}
{{- if not .Values.clusterWide -}}
{{- if not (has $definitions .Values.watchNamespaces) -}}
{{- fail (printf "api.definitionsNamespace is %q, which is not in watchNamespaces (%s): what REST makes there would never become ready. Add it to watchNamespaces." $definitions (join ", " .Values.watchNamespaces)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
