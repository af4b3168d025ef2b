{{/* The names of objects: the name of the release, including the name of the chart. */}}
{{- define "reactor-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "reactor-operator.fullname" -}}
{{- $name := include "reactor-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "reactor-operator.serviceAccountName" -}}
{{- default (include "reactor-operator.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "reactor-operator.tokenServerImage" -}}
{{- $image := .Values.tokenServer.image }}
{{- $repository := printf "%s/%s" .Values.image.registry $image.repository }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "reactor-operator.image" -}}
{{- $repository := printf "%s/%s" .Values.image.registry .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The emulator's image. Omitted values default to those of the operator's image. */}}
{{- define "reactor-operator.emulatorImage" -}}
{{- $image := .Values.developmentEmulator.image }}
{{- $repository := printf "%s/%s" (default .Values.image.registry $image.registry) $image.repository }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (coalesce $image.tag .Values.image.tag .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* The host of the emulator. It works in all namespaces, because the programs of sessions use it too. */}}
{{- define "reactor-operator.emulatorHost" -}}
{{- printf "%s-emulator.%s.svc" (include "reactor-operator.fullname" .) .Release.Namespace }}
{{- end }}

{{/* The URL of Reactor's API. In a trial: the URL of the emulator. */}}
{{- define "reactor-operator.apiURL" -}}
{{- if .Values.developmentEmulator.enabled }}
{{- printf "http://%s:8080" (include "reactor-operator.emulatorHost" .) }}
{{- else }}
{{- .Values.reactor.apiURL }}
{{- end }}
{{- end }}

{{/* The labels that select the pods of this release. */}}
{{- define "reactor-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reactor-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/*
The metadata of an object: dict "root" $ "name" … and optionally "namespace", "labels" and "annotations". The labels and annotations of the
chart take precedence over commonLabels and commonAnnotations.
*/}}
{{- define "reactor-operator.metadata" -}}
{{- $labels := merge
      (include "reactor-operator.selectorLabels" .root | fromYaml)
      (dict
        "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_" | trunc 63)
        "app.kubernetes.io/managed-by" .root.Release.Service
        "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-"))
      (.labels | default dict)
      .root.Values.commonLabels }}
{{- $metadata := dict "name" .name "labels" $labels }}
{{- with .namespace }}
{{- $_ := set $metadata "namespace" . }}
{{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
{{- $_ := set $metadata "annotations" . }}
{{- end }}
{{- toYaml $metadata }}
{{- end }}

{{/* The labels of a pod: dict "root" $ "component" … "labels" …. */}}
{{- define "reactor-operator.podLabels" -}}
{{- toYaml (merge
      (include "reactor-operator.selectorLabels" .root | fromYaml)
      (dict "app.kubernetes.io/component" .component)
      (.labels | default dict)
      .root.Values.commonLabels) }}
{{- end }}

{{/* "yes" if clients of the metrics are authenticated. Otherwise empty. */}}
{{- define "reactor-operator.metricsAuth" -}}
{{- if .Values.metrics.enabled }}
{{- if kindIs "bool" .Values.metrics.auth }}{{ if .Values.metrics.auth }}yes{{ end }}
{{- else if eq .Values.scope "Cluster" }}yes
{{- end }}
{{- end }}
{{- end }}

{{/* The operator's roles for the objects of users: the file of each role, and the suffix of its name. */}}
{{- define "reactor-operator.roles" -}}
{{- if .Values.controllers.tokens }}
- {file: role.yaml, suffix: ""}
{{- end }}
{{- if .Values.controllers.sessions }}
- {file: sessions_role.yaml, suffix: -sessions}
{{- end }}
{{- if .Values.allowRestart }}
- {file: restart_role.yaml, suffix: -restart}
{{- end }}
{{- if .Values.allowPromptDelivery }}
- {file: prompt_delivery_role.yaml, suffix: -prompt-delivery}
{{- end }}
{{- end }}

{{/*
The Helm hook of the drain. It runs before the release is uninstalled, or, with controllers.sessions=false, before the upgrade of a release
whose operator still runs sessions. If empty, the drain does not run. helm template, which Argo CD uses, cannot read the cluster. It does not
know what the release runs, so there is no hook for the upgrade.
*/}}
{{- define "reactor-operator.drainHook" -}}
{{- if and .Values.drain.enabled .Values.controllers.sessions }}pre-delete
{{- else if and .Values.drain.enabled .Release.IsUpgrade }}
{{- $deployment := lookup "apps/v1" "Deployment" .Release.Namespace (include "reactor-operator.fullname" .) }}
{{- range dig "spec" "template" "spec" "containers" list $deployment }}
{{- range .args }}
{{- if regexMatch "^--controllers=.*sessions" . }}pre-upgrade{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The namespaces that the operator watches, as a list. [""] means the whole cluster. */}}
{{- define "reactor-operator.watchedNamespaces" -}}
{{- if eq .Values.scope "Cluster" }}{{ toJson (list "") }}
{{- else if eq .Values.scope "Namespaces" }}{{ toJson .Values.namespaces }}
{{- else }}{{ toJson (list .Release.Namespace) }}
{{- end }}
{{- end }}

{{/* The argument that names these namespaces. It is empty for the whole cluster. */}}
{{- define "reactor-operator.namespacesArg" -}}
{{- if eq .Values.scope "Namespaces" -}}
- --namespaces={{ join "," .Values.namespaces }}
{{- else if eq .Values.scope "OwnNamespace" -}}
- --namespaces=$(POD_NAMESPACE)
{{- end }}
{{- end }}

{{/* The arguments that the operator and its drain share: the namespaces, the URL of Reactor, and the log settings. */}}
{{- define "reactor-operator.sharedArgs" -}}
{{- with include "reactor-operator.namespacesArg" . -}}
{{ . }}
{{ end -}}
- --api-url={{ include "reactor-operator.apiURL" . }}
{{- if or .Values.reactor.caBundle.configMap.name .Values.reactor.caBundle.secret.name }}
- --ca-bundle=/etc/reactor-operator/ca/ca.crt
{{- end }}
- --log-level={{ .Values.logging.level }}
- --log-format={{ .Values.logging.format }}
{{- end }}

{{/* The environment variables of the operator and the drain. It may be empty. */}}
{{- define "reactor-operator.env" -}}
{{- if eq .Values.scope "OwnNamespace" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{ end }}
{{- include "reactor-operator.proxyEnv" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The environment variables for the proxy to Reactor. Empty without a proxy. */}}
{{- define "reactor-operator.proxyEnv" -}}
{{- $direct := ternary (list (include "reactor-operator.emulatorHost" .)) list .Values.developmentEmulator.enabled }}
{{- with .Values.proxy }}
{{- with .httpProxy }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .httpsProxy }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- if or .httpProxy .httpsProxy }}
# The operator does not use the proxy for the Kubernetes API. The kubelet replaces the variable with its address.
- name: NO_PROXY
  value: {{ append (concat (compact (list .noProxy)) $direct) "$(KUBERNETES_SERVICE_HOST)" | join "," | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volume with the certificates of reactor.caBundle. Empty without one. */}}
{{- define "reactor-operator.volumes" -}}
{{- with .Values.reactor.caBundle }}
{{- if .configMap.name -}}
- name: ca-bundle
  configMap:
    name: {{ .configMap.name }}
    items:
    - {key: {{ .configMap.key | quote }}, path: ca.crt}
{{- else if .secret.name -}}
- name: ca-bundle
  secret:
    secretName: {{ .secret.name }}
    items:
    - {key: {{ .secret.key | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- end }}

{{- define "reactor-operator.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "reactor-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
  - ALL
{{- end }}

{{/* The port of a URL. */}}
{{- define "reactor-operator.port" -}}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- default (ternary "80" "443" (eq $url.scheme "http")) $port }}
{{- end }}
