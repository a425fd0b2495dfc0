#!/usr/bin/env bash
# Runs `snnconv verify` on the inputs of action.yml, writes the summary and the outputs, and exits with the code of the command.
# Works with bash 3.2, the one of macOS.
set -euo pipefail

readonly SUMMARY_LIMIT=1000000 # GitHub drops a summary of more than 1 MiB

die() {
  echo "::error title=snnconv verify::$1"
  exit 2
}

# add OPTION TEXT: the option with its value, if it has one
add() {
  if [[ -n $2 ]]; then
    args+=("$1" "$2")
  fi
}

# each OPTION TEXT: every line that is not blank, after the option unless that is empty
each() {
  local line
  while IFS= read -r line; do
    line=${line%$'\r'}
    if [[ $line == *[![:space:]]* ]]; then
      if [[ -n $1 ]]; then
        args+=("$1")
      fi
      args+=("$line")
    fi
  done <<<"$2"
}

[[ -n $SNNCONV_SOURCE ]] || die "the input 'source' is empty"
[[ -n $SNNCONV_CANDIDATES ]] || die "the input 'candidates' is empty"
[[ -n $SNNCONV_DATA ]] || die "the input 'data' is empty"
[[ -n $SNNCONV_REPORTS && $SNNCONV_REPORTS != *$'\n'* ]] || die "the input 'reports' is not one folder"

reports=$SNNCONV_REPORTS
mkdir -p -- "$reports"
rm -f -- "$reports"/report.{json,xml,md,html}

args=(verify --data "$SNNCONV_DATA")
add --arch "$SNNCONV_ARCH"
# Said in full, the levels are demanded: a file without snnconv's metadata is an error then, not a verdict on its task alone.
add --level "${SNNCONV_LEVEL:-proof,algebra,deployment,task}"
add --shard "$SNNCONV_SHARD"
each --policy "$SNNCONV_POLICY"
args+=(--format github --resume "$reports/journal")
for suffix in json xml md html; do
  args+=(--report "$reports/report.$suffix")
done
each "" "$SNNCONV_ARGS"
args+=(-- "$SNNCONV_SOURCE")
each "" "$SNNCONV_CANDIDATES"

# A cancelled job interrupts this shell alone. It passes that on, and waits until the command has put its journal in order.
# Job control, or the command would ignore interrupts as everything does that a script starts in the background.
set -m
snnconv "${args[@]}" &
child=$!
set +m
trap 'interrupted=yes; kill -INT "$child" 2>/dev/null || true' INT TERM
while
  interrupted=no code=0
  wait "$child" || code=$?
  [[ $interrupted == yes ]]
do :; done

# An exit code of 1 without a report is no verdict: the command did not even start properly.
verdict=error
if [[ $code == 0 ]]; then
  verdict=equivalent
elif [[ $code == 1 && -s $reports/report.json ]]; then
  verdict=not-equivalent
fi
{
  echo "verdict=$verdict"
  echo "exit-code=$code"
  echo "report=$reports/report.json"
} >>"$GITHUB_OUTPUT"

if [[ ! -s $reports/report.md ]]; then
  echo "**snnconv verify** wrote no report and exited with code $code. The log of this step says why."
elif (($(wc -c <"$reports/report.md") > SUMMARY_LIMIT)); then
  echo "**snnconv verify: $verdict.** The report is too long to be shown here; it is among the uploaded reports."
else
  cat -- "$reports/report.md"
fi >>"$GITHUB_STEP_SUMMARY"

exit "$code"
