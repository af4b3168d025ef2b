{{- define "gvList" -}}
<!-- Generated from api/ by `make api-docs`. Do not edit. -->

# API reference

Every field, with the description that `kubectl explain` prints. The page of each kind describes how to use them.
{{ range . }}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}
