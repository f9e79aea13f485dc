#!/usr/bin/env bash
# tests/slurm_cluster.sh COMMAND...: start a SLURM cluster of two nodes on this machine, run the command in it, and stop it again.
# It needs root, and Debian's packages slurm-wlm and munge, which it installs where they are missing. Nothing of it is left running, and
# nothing but the packages is left on the disk; a SLURM that this machine may belong to is neither asked nor touched.
set -euo pipefail

fail() { echo "error: $*" >&2; exit 2; }

[ $# -gt 0 ] || fail "which command? tests/slurm_cluster.sh COMMAND..."
[ "$(id -u)" = 0 ] || fail "a SLURM can be started by root alone: sudo make test-slurm"
missing=
for tool in slurmctld slurmd munged srun setpriv; do
    command -v $tool >/dev/null || missing=$tool
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || fail "there is no $missing here, and no apt-get to install it: install slurmctld, slurmd and munge"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q=2 install --no-install-recommends slurm-wlm munge >/dev/null 2>&1 ||
        { apt-get -q=2 update && apt-get -q=2 install --no-install-recommends slurm-wlm munge >/dev/null; } ||
        fail "apt-get cannot install slurm-wlm and munge, see above"
fi

place=$(mktemp -d)
chmod 755 "$place"
host=$(uname -n)
port=$((20000 + $$ % 3000 * 4))
unset "${!SLURM@}" "${!SBATCH@}"
export SLURM_CONF=$place/slurm.conf

stop() {
    code=$?
    trap - EXIT INT TERM
    for _ in $(seq 20); do
        jobs=$(timeout 10 squeue --noheader --format=%A 2>/dev/null) || break
        [ -n "$jobs" ] || break
        echo "$jobs" | sort -u | xargs scancel --quiet --full --signal=KILL 2>/dev/null || true
        echo "$jobs" | sort -u | xargs scancel --quiet 2>/dev/null || true
        sleep 0.5
    done
    for signal in TERM KILL; do
        for file in "$place"/*.pid; do
            [ -e "$file" ] && kill -$signal "$(cat "$file")" 2>/dev/null || true
        done
        sleep 1
    done
    rm -rf "$place"
    exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A munged of its own: who may speak to this cluster.
install -d -o munge -g munge -m 755 "$place/munge"
dd if=/dev/urandom of="$place/munge/key" bs=128 count=1 status=none
chown munge:munge "$place/munge/key"
chmod 600 "$place/munge/key"
setpriv --reuid munge --regid munge --clear-groups munged --key-file="$place/munge/key" --socket="$place/munge/socket" \
    --pid-file="$place/munge/munged.pid" --log-file="$place/munge/munged.log" --seed-file="$place/munge/seed"
ln -s munge/munged.pid "$place/munged.pid"

cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket,cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MaxArraySize=4
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool.%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.%n.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.%n.log
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=yielding Nodes=ALL MaxTime=INFINITE State=UP PreemptMode=REQUEUE GraceTime=40
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PreemptMode=OFF PriorityTier=10
END
mkdir "$place/state" "$place/spool.one" "$place/spool.two"
slurmctld
slurmd -N one
slurmd -N two
for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%D --states=idle 2>/dev/null)" = 2 ] && break
    sleep 0.5
done
if [ "$(sinfo --noheader --format=%D --states=idle)" != 2 ]; then
    tail -n 20 "$place"/*.log >&2
    fail "the cluster does not come up: its logs are above"
fi

"$@"
