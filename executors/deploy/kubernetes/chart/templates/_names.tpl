{{- define "executor.name" -}}
{{- $name := .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- if contains .Chart.Name $name }}{{ $name }}{{ else }}{{ printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- end }}

{{- define "executor.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "executor.labels" -}}
{{ include "executor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: executor
app.kubernetes.io/part-of: pollinator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "executor.claim" -}}
{{ .Values.volume.claim | default (include "executor.name" .) }}
{{- end }}

{{- define "executor.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end }}
