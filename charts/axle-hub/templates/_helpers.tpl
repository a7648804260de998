{{- define "axle-hub.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "axle-hub.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "axle-hub.labels" -}}
{{ include "axle-hub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: axle
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "axle-hub.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "axle-hub.name" .) }}
{{- end -}}

{{- define "axle-hub.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "axle-hub.address" -}}
{{ include "axle-hub.name" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}

{{- /* What a program of the hub needs to find its database. */ -}}
{{- define "axle-hub.environment" -}}
- {name: AXLE_HUB_DATA_DIR, value: /var/lib/axle-hub}
- {name: AXLE_HUB_MESH, value: {{ .Values.mesh | quote }}}
{{- if eq .Values.database.kind "postgres" }}
- name: AXLE_HUB_DATABASE
  valueFrom: {secretKeyRef: {name: {{ .Values.database.postgres.existingSecret }}, key: {{ .Values.database.postgres.key }}}}
{{- with .Values.database.postgres.ca }}
{{- if .existingSecret }}
- {name: AXLE_HUB_DATABASE_CA, value: {{ printf "/etc/axle-hub/database/%s" .key | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "axle-hub.databaseMount" -}}
{{- if .Values.database.postgres.ca.existingSecret -}}
- {name: database-ca, mountPath: /etc/axle-hub/database, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "axle-hub.databaseVolume" -}}
{{- with .Values.database.postgres.ca -}}
{{- if .existingSecret -}}
- {name: database-ca, secret: {secretName: {{ .existingSecret }}, items: [{key: {{ .key }}, path: {{ .key }}}]}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Nobody, with no rights, on files that it cannot change. */ -}}
{{- define "axle-hub.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "axle-hub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
