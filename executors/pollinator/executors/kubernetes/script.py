"""The supervisor of the ranks of one node, in the words of every POSIX shell: the image's own runs it.

It starts the ranks, ends all of them when one failed or their time is over or it is told to, and keeps the
node's journal. It needs ``sleep`` besides the shell, and it is process 1 of its container: what it leaves is
ended by the kernel, and a signal to all reaches all. See ``journal`` for what the lines mean.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pollinator.executors.kubernetes.data import CONTROL, OURS, OUTPUT, WORK

# A shell that is given a script with -c may forget how its children ended; from a file none does.
ENTER = f'printf %s "$0" > {OURS}/supervisor && exec /bin/sh {OURS}/supervisor "$@"'

# Names begin with _pol_, so that no variable of a rank is touched. What has ended is asked of `jobs`: in the
# result of `wait` nobody can tell exit code 137 from SIGKILL. Only bash lists no signals: there, what is not
# listed was ended by one. An end is listed once, and that of a rank which was just found alive as well: what
# was listed before is kept.
SUPERVISOR = r"""
_pol_now() { read -r _pol_t _pol_x < /proc/uptime; _pol_t=${_pol_t%.*}${_pol_t#*.}; }
_pol_rest() { PATH=$PATH:/usr/bin:/bin sleep "$1" 2> /dev/null || PATH=$PATH:/usr/bin:/bin sleep 1; }
_pol_tell() {
    _pol_tries=0
    until printf '%s\n' "$*" 2> /dev/null >> "$_pol_control/$_pol_node"; do
        _pol_tries=$((_pol_tries + 1))
        [ $_pol_tries -lt 600 ] || return 1
        _pol_rest 1
    done
}
_pol_all() {
    if [ $$ -eq 1 ]; then kill -s "$1" -- -1 2> /dev/null; return; fi
    for _pol_one in $_pol_left; do kill -s "$1" "${_pol_one%:*}" 2> /dev/null; done
}
_pol_wished() {
    _pol_stop=
    [ -z "$_pol_term" ] || _pol_stop=term
    [ -n "$_pol_stop" ] || { read -r _pol_stop < "$_pol_control/stop"; } 2> /dev/null
    [ -n "$_pol_stop" ]
}
_pol_killed() {
    _pol_ooms=0
    if [ -r /sys/fs/cgroup/memory.events ]; then
        while read -r _pol_k _pol_v; do
            [ "$_pol_k" != oom_kill ] || _pol_ooms=$_pol_v
        done < /sys/fs/cgroup/memory.events
    elif [ -r /sys/fs/cgroup/memory/memory.oom_control ]; then
        while read -r _pol_k _pol_v; do
            [ "$_pol_k" != oom_kill ] || _pol_ooms=$_pol_v
        done < /sys/fs/cgroup/memory/memory.oom_control
    fi
}
_pol_usage() {
    _pol_source=- _pol_peak=0 _pol_cpu=0
    if [ -r /sys/fs/cgroup/memory.events ]; then
        _pol_source=cgroup-v2
        { read -r _pol_peak < /sys/fs/cgroup/memory.peak; } 2> /dev/null
        while read -r _pol_k _pol_v; do
            [ "$_pol_k" != usage_usec ] || _pol_cpu=$_pol_v
        done < /sys/fs/cgroup/cpu.stat
    elif [ -r /sys/fs/cgroup/memory/memory.oom_control ]; then
        _pol_source=cgroup-v1
        { read -r _pol_peak < /sys/fs/cgroup/memory/memory.max_usage_in_bytes; } 2> /dev/null
        { read -r _pol_cpu < /sys/fs/cgroup/cpuacct/cpuacct.usage; } 2> /dev/null
        _pol_cpu=$((_pol_cpu / 1000))
    fi
    _pol_killed
    _pol_tell usage $_pol_source $_pol_peak $((_pol_ooms - _pol_before)) $_pol_cpu
}
_pol_leave() {
    _pol_all KILL
    _pol_usage
    _pol_tell "$@" && _pol_tell done
    exit "$_pol_code"
}
_pol_rank() {
    RANK=$1 LOCAL_RANK=$2 POLLINATOR_NODE_RANK=$_pol_node
    export RANK LOCAL_RANK POLLINATOR_NODE_RANK MASTER_ADDR POLLINATOR_NODELIST
    shift 2
    case $1 in
    *=*) exec "$@" < /dev/null >> "$_pol_output/$RANK" 2>&1 ;;
    *) exec $_pol_usual "$@" < /dev/null >> "$_pol_output/$RANK" 2>&1 ;;
    esac
}
_pol_status() {
    _pol_said=
    while read -r _pol_a _pol_b _pol_c; do
        case $_pol_b in +|-) _pol_b=${_pol_c%% *} _pol_c=${_pol_c#* } ;; esac
        [ "$_pol_b" = "$1" ] || continue
        case $_pol_c in Running*) ;; *) _pol_said=${_pol_c%%_pol_rank*} ;; esac
    done < "$_pol_ours/jobs"
    [ -n "$_pol_said" ] || { wait "$1" 2> /dev/null; _pol_said="wait $?"; }
}
_pol_reap() {
    _pol_dead='' _pol_still=''
    for _pol_one in $_pol_left; do
        if kill -0 "${_pol_one%:*}" 2> /dev/null; then _pol_still="$_pol_still $_pol_one"
        else _pol_dead="$_pol_dead $_pol_one"; fi
    done
    [ -n "$_pol_dead" ] || return 0
    jobs -l >> "$_pol_ours/jobs" 2> /dev/null
    _pol_left=$_pol_still
    for _pol_one in $_pol_dead; do
        _pol_status "${_pol_one%:*}"
        set -f; set -- $_pol_said; set +f
        case "$1 ${2-}" in
        'Done '|'wait 0') ;;
        'wait '*) _pol_bad=${_pol_bad:-$2} ;;
        'Exit '*) _pol_bad=${_pol_bad:-$2} ;;
        'Done('*) _pol_bad=${1#*\(}; _pol_bad=${_pol_bad%\)*} ;;
        *) _pol_bad=${_pol_bad:-128} ;;
        esac
        _pol_tell rank "${_pol_one#*:}" "$@"
    done
}
_pol_end() {
    _pol_ending=$1
    _pol_tell ending "$1"
    _pol_all TERM
    _pol_kill_at=$((_pol_t + _pol_grace))
}
_pol_look() {
    if [ -n "$_pol_ending" ]; then
        [ "$_pol_t" -lt "$_pol_kill_at" ] || _pol_all KILL
        return 0
    fi
    if [ -n "$_pol_bad" ]; then _pol_end rank
    elif _pol_wished; then _pol_end "$_pol_stop"
    elif [ "$_pol_wall" -gt 0 ] && [ "$_pol_t" -ge $((_pol_began + _pol_wall)) ]; then _pol_end time
    else
        _pol_killed
        if [ "$_pol_ooms" = "$_pol_before" ]; then _pol_over=
        elif [ -z "$_pol_over" ]; then _pol_over=$_pol_t
        elif [ "$_pol_t" -gt $((_pol_over + 50)) ]; then _pol_end memory; fi
    fi
    if [ -n "$_pol_warn" ] && [ "$_pol_t" -ge $((_pol_began + _pol_warn_at)) ]; then
        for _pol_one in $_pol_left; do kill -s "$_pol_warn" "${_pol_one%:*}" 2> /dev/null; done
        _pol_warn=
    fi
}
_pol_watch() {
    while [ -n "$_pol_left" ]; do
        if [ "$_pol_t" -lt $((_pol_began + 300)) ]; then _pol_rest 0.05
        elif [ "$_pol_t" -lt $((_pol_began + 6000)) ]; then _pol_rest 0.2
        else _pol_rest 0.5; fi
        _pol_reap
        _pol_now
        _pol_look
    done
}
_pol_meet() {
    _pol_now
    _pol_until=$((_pol_t + _pol_patience))
    while ! { read -r POLLINATOR_NODELIST MASTER_ADDR < "$_pol_control/go"; } 2> /dev/null; do
        ! _pol_wished || { _pol_code=143; _pol_leave ending "$_pol_stop"; }
        [ "$_pol_t" -lt "$_pol_until" ] || { _pol_code=115; _pol_leave ending peers; }
        _pol_rest 0.1
        _pol_now
    done
}
_pol_can() {
    case $1 in
    */*)
        [ -e "$1" ] || { _pol_code=127; _pol_leave no program; }
        { [ ! -d "$1" ] && [ -x "$1" ]; } || { _pol_code=127; _pol_leave no mode; } ;;
    *) command -v -- "$1" > /dev/null 2>&1 || { _pol_code=127; _pol_leave no program; } ;;
    esac
}
_pol_run() {
    _pol_term='' _pol_left='' _pol_bad='' _pol_ending='' _pol_over='' _pol_code=0 _pol_usual=''
    trap '_pol_term=1' TERM
    trap : HUP INT QUIT USR1 USR2
    _pol_killed
    _pol_before=$_pol_ooms
    if [ -s "$_pol_control/$_pol_node" ]; then _pol_tell again; exit 114; fi
    _pol_tell began || exit 114
    ! _pol_wished || { _pol_code=143; _pol_leave ending "$_pol_stop"; }
    cd "$_pol_work" || { _pol_code=127; _pol_leave no folder; }
    mkdir -p "$HOME" 2> /dev/null
    [ "$_pol_nodes" -eq 1 ] || _pol_meet
    ! env --default-signal=INT,QUIT true 2> /dev/null || _pol_usual='env --default-signal=INT,QUIT'
    _pol_now
    _pol_began=$_pol_t _pol_first=$((_pol_node * _pol_each))
    if [ -n "$_pol_init" ]; then
        _pol_tell init
        _pol_rank $_pol_first 0 /bin/sh -c "$_pol_init" &
        _pol_left=" $!:$_pol_first"
        _pol_watch
        [ -z "$_pol_bad$_pol_ending" ] || { _pol_code=${_pol_bad:-143}; _pol_leave init failed; }
    fi
    _pol_can "$1"
    _pol_tell ran
    _pol_local=0
    while [ $_pol_local -lt "$_pol_each" ]; do
        _pol_rank $((_pol_first + _pol_local)) $_pol_local "$@" &
        _pol_left="$_pol_left $!:$((_pol_first + _pol_local))"
        _pol_local=$((_pol_local + 1))
    done
    _pol_watch
    _pol_code=${_pol_bad:-0}
    [ -z "$_pol_ending" ] || [ "$_pol_ending" = rank ] || _pol_code=143
    _pol_leave ended
}
_pol_run "$@"
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a supervisor has to know besides the command, which are its arguments."""

    nodes: int
    each: int
    """Ranks on each node."""
    init: str = ""
    walltime_ms: int = 0
    grace_ms: int = 5000
    warning: str = ""
    """As ``RunSpec.signal``."""
    peers_s: int = 600
    work: str = WORK
    output: str = OUTPUT
    control: str = CONTROL
    ours: str = OURS
    """A folder of the container's own."""


def command(plan: Plan, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What a container runs, and its arguments."""
    return ["/bin/sh", "-c", ENTER], [script(plan), *argv]


def script(plan: Plan) -> str:
    """The supervisor for one run."""
    name, _, before_s = plan.warning.partition("@")
    at_ms = max(0, plan.walltime_ms - round(1000 * float(before_s or 0)))
    warning = name if plan.walltime_ms else ""
    values = {
        "work": plan.work,
        "output": plan.output,
        "control": plan.control,
        "ours": plan.ours,
        "nodes": str(plan.nodes),
        "each": str(plan.each),
        "init": plan.init,
        # In hundredths, as the kernel tells how long it is up.
        "wall": str(max(1, plan.walltime_ms // 10) if plan.walltime_ms else 0),
        "grace": str(plan.grace_ms // 10),
        "warn": warning,
        "warn_at": str(at_ms // 10),
        "patience": str(100 * plan.peers_s),
    }
    lines = [f"_pol_{key}={shlex.quote(value)}" for key, value in values.items()]
    return "\n".join([*lines, "_pol_node=${JOB_COMPLETION_INDEX:-0}", SUPERVISOR.lstrip("\n")])
