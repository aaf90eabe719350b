# What the scripts share. Sourced, never run; leaves the caller at the repository's root.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
PATH="$PATH:/usr/sbin:/sbin" # a plain user's PATH may lack them, root's always has them
LOGS="build/log"
mkdir -p "$LOGS"

# step LOG TEXT COMMAND...: run the command with its output in $LOGS/LOG.log; say how long it took.
# When it fails, show the end of that log and stop.
step() {
    local log="$LOGS/$1.log" text="$2" began=$SECONDS
    shift 2
    printf '==> %s ... ' "$text"
    # 8, 9: locks, which a service started here must not keep.
    if "$@" > "$log" 2>&1 < /dev/null 8>&- 9>&-; then
        printf '%d s\n' $((SECONDS - began))
    else
        printf 'failed after %d s\n\n' $((SECONDS - began))
        tail -n 25 "$log"
        stop "\`$1\` failed; all of its output is in $PWD/$log"
    fi
}

# stop TEXT: one clear sentence, and the end.
stop() {
    printf '\n%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}
