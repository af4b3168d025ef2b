{{- define "type" -}}
{{- if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc | trim }}
{{ if .IsAlias }}
A {{ markdownRenderTypeLink .UnderlyingType }}
{{- template "rules" dict "Prefix" ": " "Separator" "; " "Validation" .Validation "Markers" .Markers "Known" list }}
{{ else }}
{{- with index .Markers "kubebuilder:validation:XValidation" }}
{{- range . }}
- {{ .Message }}
{{- end }}
{{ end }}
{{- end }}
{{- if .References }}
Used in {{ range $i, $user := .SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $user }}{{ end }}.
{{ end }}
{{- if .Members }}
| Field | Type | What it is | Rules |
| --- | --- | --- | --- |
{{- if .GVK }}
| `apiVersion` | string | `{{ .GVK.Group }}/{{ .GVK.Version }}` | |
| `kind` | string | `{{ .GVK.Kind }}` | |
{{- end }}
{{- range .Members }}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ template "description" . }} | {{ template "field rules" . }} |
{{- end }}
{{ end }}
{{- if and .EnumValues (index .EnumValues 0).Doc }}
| Value | What it means |
| --- | --- |
{{- range .EnumValues }}
| `{{ .Name }}` | {{ regexReplaceAll "^[A-Z][A-Za-z]* " (trim .Doc) "" | replace "\n" " " | markdownRenderFieldDoc }} |
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{- /* A field's comment, on one line. */ -}}
{{- define "description" -}}
{{- if eq .Name "metadata" -}}
The [metadata of every object](https://kubernetes.io/docs/concepts/overview/working-with-objects/).
{{- else -}}
{{ .Doc | trim | replace "\n" " " | markdownRenderFieldDoc }}
{{- end -}}
{{- end -}}

{{- /* The rules of a field, without those of its type, which are listed with the type. */ -}}
{{- define "field rules" -}}
{{- $validation := .Validation -}}
{{- $known := list -}}
{{- range $type := list .Type .Type.UnderlyingType -}}
{{- if $type -}}
{{- range $type.Validation }}{{ $validation = without $validation . }}{{ end -}}
{{- range index $type.Markers "kubebuilder:validation:XValidation" }}{{ $known = append $known .Message }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if has "Required: {}" .Validation }}{{ $validation = prepend $validation "Required: {}" }}{{ end -}}
{{- template "rules" dict "Prefix" "" "Separator" "<br>" "Validation" $validation "Markers" .Markers "Known" $known -}}
{{- end -}}

{{- /* Bounds, and the messages of CEL rules, which say what to write. */ -}}
{{- define "rules" -}}
{{- $rules := list -}}
{{- if has "Required: {}" .Validation }}{{ $rules = append $rules "**required**" }}{{ end -}}
{{- $bounds := join "\n" .Validation -}}
{{- range $unit := list (list "Length" " characters") (list "Items" " items") (list "Properties" " entries") (list "imum" "") -}}
{{- $name := index $unit 0 -}}
{{- $least := regexFind (printf "Min%s: .*" $name) $bounds | trimPrefix (printf "Min%s: " $name) -}}
{{- $most := regexFind (printf "Max%s: .*" $name) $bounds | trimPrefix (printf "Max%s: " $name) -}}
{{- if and $least $most -}}
{{- $rules = append $rules (printf "%s to %s%s" $least $most (index $unit 1)) -}}
{{- else if $least -}}
{{- $rules = append $rules (printf "at least %s%s" $least (index $unit 1)) -}}
{{- else if $most -}}
{{- $rules = append $rules (printf "at most %s%s" $most (index $unit 1)) -}}
{{- end -}}
{{- end -}}
{{- range .Validation -}}
{{- if hasPrefix "Enum: " . }}{{ $rules = append $rules (printf "one of `%s`" (trimPrefix "Enum: [" . | trimSuffix "]" | replace " " "`, `")) }}{{ end -}}
{{- if hasPrefix "Pattern: " . }}{{ $rules = append $rules (trimPrefix "Pattern: " . | printf "pattern %s") }}{{ end -}}
{{- end -}}
{{- $known := .Known -}}
{{- range index .Markers "kubebuilder:validation:XValidation" -}}
{{- if not (has .Message $known) }}{{ $rules = append $rules (.Message | markdownRenderFieldDoc) }}{{ end -}}
{{- end -}}
{{- if $rules }}{{ .Prefix }}{{ join .Separator $rules }}{{ end -}}
{{- end -}}
