#!/usr/bin/env bash
# Installs snnconv, with torch from the index named SNNCONV_TORCH_INDEX: SNNCONV_PACKAGE, or the repository that holds this file.
set -euo pipefail

args=(install)
if [[ -n $SNNCONV_TORCH_INDEX ]]; then
  # Of equal versions pip prefers the one with a local part, 2.13.0+cpu.
  args+=(--extra-index-url "$SNNCONV_TORCH_INDEX")
fi
if [[ -n $SNNCONV_PACKAGE ]]; then
  args+=("$SNNCONV_PACKAGE")
else
  root=$GITHUB_ACTION_PATH/../../..
  if [[ ! -f $root/snnconv/__init__.py ]]; then
    echo "::error title=snnconv verify::this copy of the action is no part of snnconv's repository; set the input 'snnconv'"
    exit 2
  fi
  args+=(--constraint "$root/constraints.txt" "${root}[report]")
fi
exec python -m pip "${args[@]}"
