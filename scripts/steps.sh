# Run named steps, go on after a failure, and tell at the end how each went. Sourced, never run.

declare -a results=()
failures=0

step() {
    local name=$1 begin=$SECONDS outcome=ok
    shift
    say "$name"
    # A subshell, so that a step may exit without ending the rest. It runs in a condition, where `set -e` has no
    # effect: a step of several commands has to join them with &&.
    if ! ("$@") </dev/null; then
        outcome=FAILED
        failures=$((failures + 1))
    fi
    results+=("$(printf '%-6s  %4d s  %s' "$outcome" $((SECONDS - begin)) "$name")")
}

summary() {
    say "summary"
    printf '%s\n' "${results[@]}"
    if [ "$failures" -gt 0 ]; then
        printf '\n%d of %d steps failed\n' "$failures" "${#results[@]}"
        return 1
    fi
    printf '\nall %d steps passed, none was skipped\n' "${#results[@]}"
}

lint_steps() {
    local bin=.venv/bin
    step "ruff check" "$bin/ruff" check .
    step "ruff format --check" "$bin/ruff" format --check .
    step "mypy --strict" "$bin/mypy"
    # With --verifytypes pyright asks the first python on PATH where packages are, whatever --pythonpath says.
    step "pyright --verifytypes" env PATH="$PWD/$bin:$PATH" pyright --ignoreexternal --verifytypes cenote
}
