#!/usr/bin/env bash
# Fails if generated files differ from those in the tree, if one of them is not in git, or if a go.mod is not tidy.
# Usage: hack/verify.sh MODULE…
#
# It generates everything from nothing in a copy of the tree. So it also finds a generated file whose source no longer exists, and it does
# not change the working tree, even one with edits.
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
# Only a part of these is generated.
mixed=(
  charts/reactor-operator/README.md
)
failed=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# copy_to FOLDER [PATH…] copies tracked files, and new files that are not ignored, from the working tree.
copy_to() {
  local folder=$1 file
  shift
  mkdir "$folder"
  git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' file; do
    if [[ -e $file ]]; then printf '%s\0' "$file"; fi
  done | tar -c --null -T - | tar -x -C "$folder"
}

echo 'verify: generated files are up to date'
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
  echo 'verify: the generated files differ from those in the tree, see above. Run make generate manifests api-docs chart-docs,' >&2
  echo '        delete files that are no longer generated, and commit' >&2
  failed=1
fi
unknown=$(git ls-files --others --exclude-standard -- "${generated[@]}")
if [[ -n $unknown ]]; then
  printf 'verify: these generated files are not in git. Add and commit them:\n%s\n' "$unknown" >&2
  failed=1
fi

for module in "$@"; do
  echo "verify: $module/go.mod is tidy"
  if ! go mod tidy -C "$module" -diff; then
    echo "verify: $module/go.mod or go.sum is not tidy. Run make tidy, and commit" >&2
    failed=1
  fi
done

exit "$failed"
