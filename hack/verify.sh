#!/usr/bin/env bash
# Fails if generated files differ from what is in the tree, if one of them is not known to git, or if a go.mod is not tidy.
# Usage: hack/verify.sh MODULE…
#
# It is a script because it works in a copy: everything is generated there from nothing, so that a file whose source is gone
# is found too, and the working tree stays as it is, whether it is a clean clone or full of edits.
set -euo pipefail
cd "$(dirname "$0")/.."

generated=(
  api/v1alpha1/zz_generated.deepcopy.go
  api/v1alpha1/applyconfiguration
  config/crd/bases
  config/rbac/role.yaml
  config/rbac/sessions_role.yaml
  docs/api.md
  charts/reactor-operator/files
)
# Of these, a part is generated.
mixed=(
  charts/reactor-operator/README.md
)
failed=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# copy_to FOLDER [PATH…]: what git knows, and what is new and not ignored, as it is in the working tree.
copy_to() {
  local folder=$1 file
  shift
  mkdir "$folder"
  git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' file; do
    if [[ -e $file ]]; then printf '%s\0' "$file"; fi
  done | tar -c --null -T - | tar -x -C "$folder"
}

echo 'verify: what is generated is in the tree'
copy_to "$work/source"
copy_to "$work/tree" "${generated[@]}" "${mixed[@]}"
mkdir "$work/generated"
(
  cd "$work/source"
  rm -rf "${generated[@]}"
  mkdir -p config/crd/bases
  make generate manifests api-docs chart-docs >/dev/null
  tar -c "${generated[@]}" "${mixed[@]}" | tar -x -C "$work/generated"
)
if ! (cd "$work" && git --no-pager diff --no-index tree generated); then
  echo 'verify: this is the difference between the tree and what is generated from it: run make generate manifests api-docs chart-docs,' >&2
  echo '        delete what is not generated any more, and commit' >&2
  failed=1
fi
unknown=$(git ls-files --others --exclude-standard -- "${generated[@]}")
if [[ -n $unknown ]]; then
  printf 'verify: generated, but not known to git; git add and commit:\n%s\n' "$unknown" >&2
  failed=1
fi

for module in "$@"; do
  echo "verify: $module/go.mod is tidy"
  if ! go mod tidy -C "$module" -diff; then
    echo "verify: $module/go.mod or go.sum is not tidy: run make tidy, and commit" >&2
    failed=1
  fi
done

exit "$failed"
