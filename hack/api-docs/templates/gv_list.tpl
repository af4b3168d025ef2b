{{- define "gvList" -}}
<!-- Generated from api/ by `make api-docs`. Do not edit. -->

# API reference

Every field, as `kubectl explain` describes it too. How the pieces are used is told in the page of each kind.
{{ range . }}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}
