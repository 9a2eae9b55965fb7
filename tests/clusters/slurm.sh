#!/bin/bash
# Runs a Slurm of one node on loopback, with its own munge, in DIRECTORY, until it is ended. Needs root.
# usage: slurm.sh DIRECTORY; then SLURM_CONF=DIRECTORY/slurm.conf srun ...
set -euo pipefail
here=$1
export PATH="$PATH:/usr/sbin:/sbin"
mkdir -p "$here"/{state,spool}
chmod 755 "$here"
host=$(hostname -s)
read -r controller node < <(python3 -c '
import socket
found = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in found))')

head -c 1024 /dev/urandom > "$here/munge.key"
chmod 600 "$here/munge.key"
cat > "$here/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$here/munge.socket
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SlurmdParameters=config_overrides
KillWait=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$here/slurm.conf"

trap 'trap - EXIT TERM INT; kill $(jobs -p) 2> /dev/null || true; wait' EXIT TERM INT
munged --foreground --force --socket="$here/munge.socket" --key-file="$here/munge.key" --num-threads=2 \
    --pid-file="$here/munge.pid" --log-file="$here/munge.log" --seed-file="$here/munge.seed" > "$here/munged.out" 2>&1 &
until [ -S "$here/munge.socket" ]; do sleep 0.1; done
slurmctld -D > "$here/slurmctld.out" 2>&1 &
slurmd -D > "$here/slurmd.out" 2>&1 &
wait
