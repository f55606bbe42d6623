#!/bin/sh
# What `make demo` shows: a new project and its first run, as a user types it. Everything it makes, the
# daemon's own folders included, lies in one temporary folder and is gone afterwards.
# usage: demo.sh FOLDER_OF_THE_PROGRAMS
set -eu
PATH="$1:$PATH"

scratch=$(mktemp -d "${TMPDIR:-/tmp}/pollinator-demo.XXXXXX")
export HOME="$scratch" XDG_CONFIG_HOME="$scratch/config" XDG_STATE_HOME="$scratch/state"
export XDG_CACHE_HOME="$scratch/cache" XDG_RUNTIME_DIR="$scratch/run"
mkdir -m 700 "$XDG_RUNTIME_DIR"
# The demo needs no server, whatever the caller's environment names.
for name in $(env | sed -n -e 's/^\(AWS_[A-Z0-9_]*\)=.*/\1/p' -e 's/^\(POLLINATOR_[A-Z_]*\)=.*/\1/p'); do
    unset "$name"
done

clean_up() {
    pollinator cancel --all >/dev/null 2>&1 || true
    pollinator daemon stop >/dev/null 2>&1 || true
    # The executor outlives the daemon, for runs must. Its lock begins with its process id.
    lock="$XDG_STATE_HOME/pollinator/executors/local/executor.lock"
    if [ -s "$lock" ] && read -r executor <"$lock" && kill "$executor" 2>/dev/null; then
        while kill -0 "$executor" 2>/dev/null; do sleep 0.1; done
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

show() {
    echo "\$ $*" >&2
    "$@"
}

cd "$scratch"
show pollinator new demo
show cd demo
show pollinator run --follow
