{{- define "onehop.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "onehop.configNamespace" -}}
{{- default .Release.Namespace .Values.configNamespace -}}
{{- end -}}

{{- define "onehop.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Labels that pods are selected by; called with (dict "root" . "component" "speaker"). */}}
{{- define "onehop.selector" -}}
app.kubernetes.io/name: {{ include "onehop.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "onehop.labels" -}}
{{ include "onehop.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "onehop.account" -}}
{{- $own := index .root.Values .component -}}
{{- default (printf "%s-%s" (include "onehop.name" .root) .component) $own.serviceAccount.name -}}
{{- end -}}

{{/* What both pods have: probes on the telemetry port, and who and where they are. */}}
{{- define "onehop.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: telemetry}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: telemetry}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: telemetry}
  periodSeconds: 5
  failureThreshold: 2
{{- end -}}

{{- define "onehop.environment" -}}
- name: ONEHOP_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: ONEHOP_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: ONEHOP_POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: ONEHOP_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end -}}

{{- define "onehop.annotations" -}}
{{- if .root.Values.metrics.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .root.Values.metrics.port | quote }}
{{- end }}
{{- with (index .root.Values .component).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}
