{{- /* The argument of all of these is a list: a part, agent or relay, and the root. */ -}}
{{- define "axle-agent.selector" -}}
app.kubernetes.io/name: axle-{{ first . }}
app.kubernetes.io/instance: {{ (last .).Release.Name }}
{{- end -}}

{{- define "axle-agent.labels" -}}
{{ include "axle-agent.selector" . }}
app.kubernetes.io/version: {{ (last .).Chart.AppVersion | quote }}
app.kubernetes.io/part-of: axle
app.kubernetes.io/managed-by: {{ (last .).Release.Service }}
helm.sh/chart: {{ (last .).Chart.Name }}-{{ (last .).Chart.Version }}
{{- end -}}

{{- define "axle-agent.image" -}}
{{- with last . -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}
{{- end -}}

{{- define "axle-agent.environment" -}}
- {name: AXLE_KUBERNETES, value: "true"}
- {name: AXLE_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: AXLE_POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: AXLE_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- with (last .).Values.metrics }}
{{- if .enabled }}
- {name: AXLE_POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: AXLE_METRICS_LISTEN, value: "$(AXLE_POD_IP):{{ .port }}"}
{{- end }}
{{- end }}
{{- range $name, $value := (last .).Values.settings }}
- {name: {{ printf "AXLE_%s" ($name | upper | replace "-" "_") }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- /* Where pods go, and what is said of them. */ -}}
{{- define "axle-agent.pod" -}}
{{- $values := index (last .).Values (first .) -}}
{{- with (last .).Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector: {{- merge (dict "kubernetes.io/os" "linux") $values.nodeSelector | toYaml | nindent 2 }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The node's CNI chain, for who changes it. */ -}}
{{- define "axle-agent.cniEnvironment" -}}
{{- with (last .).Values.cni }}
{{- if .enabled }}
- {name: AXLE_CNI_CONFIGURATIONS, value: {{ .configurations }}}
- {name: AXLE_CNI_PLUGINS, value: {{ .plugins }}}
- {name: AXLE_CNI_WAIT, value: {{ .wait }}}
- {name: AXLE_CNI_UNPROTECTED, value: {{ .unprotected }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "axle-agent.cniMounts" -}}
{{- with (last .).Values.cni }}
{{- if .enabled }}
- {name: cni-configurations, mountPath: {{ .configurations }}}
- {name: cni-plugins, mountPath: {{ .plugins }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "axle-agent.cniVolumes" -}}
{{- with (last .).Values.cni }}
{{- if .enabled }}
- {name: cni-configurations, hostPath: {path: {{ .configurations }}, type: DirectoryOrCreate}}
- {name: cni-plugins, hostPath: {path: {{ .plugins }}, type: DirectoryOrCreate}}
{{- end }}
{{- end }}
{{- end -}}
