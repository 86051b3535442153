#!/usr/bin/env bash
# A SLURM of four virtual nodes on this machine, for tests, for lessons, and to try a study before
# it runs on a real cluster.  Needs Debian's packages slurm-wlm and munge; no systemd, no cgroups.
#
#     scripts/slurm_cluster.sh start     # prints the variable by which sbatch finds the cluster
#     scripts/slurm_cluster.sh status
#     scripts/slurm_cluster.sh stop      # ends its daemons and jobs, removes its folder
#
# $HPCPGD_SLURM_DIR is its folder (default /tmp/hpcpgd-slurm, which slurm/sites/local.toml names).
set -euo pipefail

FOLDER=${HPCPGD_SLURM_DIR:-/tmp/hpcpgd-slurm}
NODES=4
CPUS=2
FIRST_PORT=${HPCPGD_SLURM_PORT:-17000}
WAIT_SECONDS=30
export PATH="$PATH:/usr/sbin:/sbin"
export SLURM_CONF="$FOLDER/slurm.conf"
MARK="$FOLDER/made-by-hpcpgd"

fail() {
    echo "slurm_cluster.sh: error: $1" >&2
    exit "${2:-69}"
}

[[ $FOLDER =~ ^/[A-Za-z0-9_./-]+$ ]] ||
    fail "HPCPGD_SLURM_DIR=$FOLDER: expected an absolute path of letters, digits and _./-" 2

write_configuration() {
    local host user memory
    host=$(hostname) user=$(id -un)
    memory=$(($(getconf _PHYS_PAGES) / 256 * $(getconf PAGESIZE) / 4096))
    cat >"$SLURM_CONF" <<END
ClusterName=virtual
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$FIRST_PORT
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$FOLDER/munge.socket,cred_expire=10
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool-%n
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd-%n.pid
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=pmi2
SlurmdParameters=config_overrides
SlurmdTimeout=30
InactiveLimit=0
MinJobAge=30
KillWait=5
ReturnToService=2
# Job numbers are parts of names in /dev/shm, where a killed job may have left files.
FirstJobId=$((RANDOM * 1000 + 1))
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
NodeName=n[1-$NODES] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((FIRST_PORT + 1))-$((FIRST_PORT + NODES))] CPUs=$CPUS RealMemory=$memory
PartitionName=virtual Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
END
}

start_munge() {
    head -c 128 /dev/urandom >"$FOLDER/munge.key"
    chmod 400 "$FOLDER/munge.key"
    munged --key-file "$FOLDER/munge.key" --socket "$FOLDER/munge.socket" \
        --pid-file "$FOLDER/munged.pid" --log-file "$FOLDER/munged.log" \
        --seed-file "$FOLDER/munge.seed" --num-threads 2 --force 2>>"$FOLDER/munged.err" ||
        fail "munged did not start: $(tail -n 1 "$FOLDER/munged.err")"
}

ready() {
    [ "$(timeout 5 sinfo --noheader --Node --states=idle --format=%N 2>/dev/null | wc -l)" = "$NODES" ]
}

start() {
    local command node
    for command in munged slurmctld slurmd sinfo; do
        command -v "$command" >/dev/null ||
            fail "$command is not installed: apt-get install slurm-wlm munge"
    done
    [ ! -e "$FOLDER" ] || fail "$FOLDER exists: a cluster runs (status), or one was left (stop)" 73
    mkdir -m 755 "$FOLDER"
    trap give_up EXIT
    touch "$MARK"
    mkdir "$FOLDER/state"
    write_configuration
    start_munge
    slurmctld -f "$SLURM_CONF" 2>>"$FOLDER/slurmctld.err"
    for ((node = 1; node <= NODES; node++)); do
        mkdir "$FOLDER/spool-n$node"
        slurmd -f "$SLURM_CONF" -N "n$node" 2>>"$FOLDER/slurmd.err"
    done
    for ((end = SECONDS + WAIT_SECONDS; SECONDS < end;)); do
        if ready; then
            trap - EXIT
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    fail "the nodes were not ready within $WAIT_SECONDS s: the last lines of their logs follow"
}

# After a failed start: show the last lines of the daemons' logs, and remove everything.
give_up() {
    local code=$?
    trap - EXIT
    tail -n 3 "$FOLDER"/*.err "$FOLDER"/*.log >&2 2>/dev/null || true
    stop >/dev/null
    exit "$code"
}

alive() {
    local pid=$1 name=$2
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ]
}

# End the daemon whose process ID is in a file, if that process still has the daemon's name.
end_daemon() {
    local file=$1 name=$2 pid
    [ -s "$file" ] || return 0
    pid=$(cat "$file")
    for signal in TERM KILL; do
        alive "$pid" "$name" || return 0
        kill "-$signal" "$pid" 2>/dev/null || true
        for ((tenths = 0; tenths < 50; tenths++)); do
            alive "$pid" "$name" || return 0
            sleep 0.1
        done
    done
}

# End jobs and their slurmstepd processes that no daemon is left to end.
end_jobs() {
    local file variables pid ours=" "
    for ((pid = $$; pid > 1; pid = $(awk '/^PPid:/ {print $2}' "/proc/$pid/status"))); do
        ours+="$pid "
    done
    for file in /proc/[0-9]*/environ; do
        pid=$(basename "$(dirname "$file")")
        [[ $ours != *" $pid "* ]] || continue  # this script, and the shells that called it
        # A process that has ended, or belongs to another user, is left alone.
        variables=$(tr '\0' '\n' 2>/dev/null <"$file") 2>/dev/null || continue
        if grep -qxF "SLURM_CONF=$SLURM_CONF" <<<"$variables" &&
            { grep -q '^SLURM_JOB_ID=' <<<"$variables" || alive "$pid" slurmstepd; }; then
            kill -KILL "$pid" || true
        fi
    done
} 2>/dev/null

stop() {
    [ -e "$FOLDER" ] || fail "no cluster: $FOLDER does not exist" 66
    [ -e "$MARK" ] || fail "$FOLDER is not a cluster of this script: it has no ${MARK##*/}" 73
    if timeout 5 sinfo >/dev/null 2>&1; then
        scancel --user="$(id -un)" --full >/dev/null 2>&1 || true
        for ((tenths = 0; tenths < 100; tenths++)); do
            [ -n "$(squeue --noheader 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    for ((node = 1; node <= NODES; node++)); do
        end_daemon "$FOLDER/slurmd-n$node.pid" slurmd
    done
    end_daemon "$FOLDER/slurmctld.pid" slurmctld
    end_jobs
    end_daemon "$FOLDER/munged.pid" munged
    rm -rf "$FOLDER"
    echo "stopped"
}

status() {
    [ -e "$MARK" ] || fail "no cluster: $FOLDER does not exist, or is not one of this script" 66
    sinfo || fail "the cluster in $FOLDER does not answer: stop it and start it again"
    squeue
}

case "${1:-}" in
    start | stop | status) "$1" ;;
    *) fail "expected start, stop or status, got '${1:-nothing}'" 2 ;;
esac
