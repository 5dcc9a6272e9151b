# Starts the namespaces of one node, from the host: joins the node's cgroups, enters the chassis, and leaves
# the node's init there as an orphan that the chassis adopts.
#
# Environment: JOIN (cgroups, one a line), CHASSIS (host pid of its init), MONOTONIC_S and BOOTTIME_S (what the
# host's clocks show), NODE_SCRIPT (a file) and what that reads.
set -eu
while read -r cgroup; do echo 0 >"$cgroup/cgroup.procs"; done <<<"$JOIN"
exec nsenter --target "$CHASSIS" --pid bash -euc '
clocks=()
if [ -e /proc/self/ns/time ]; then
    # The node has just been switched on: Slurm must see a reboot as one, and a session that comes from a node
    # that was up for longer must find a clock that is behind its own.
    clocks=(--time --monotonic=-"$MONOTONIC_S" --boottime=-"$BOOTTIME_S")
fi
setsid unshare --mount --pid --net --uts --ipc --cgroup "${clocks[@]}" --fork --kill-child \
    bash -eu "$NODE_SCRIPT" </dev/null >>"$NODE_DIR/boot.log" 2>&1 &'
