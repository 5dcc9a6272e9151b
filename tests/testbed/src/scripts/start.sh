# Starts the namespaces of one node, from the host: joins the node's cgroups, enters the chassis, and leaves
# the node's init there as an orphan that the chassis adopts.
#
# Environment: JOIN (cgroups, one a line), CHASSIS (host pid of its init), NODE_SCRIPT and what that one reads.
set -eu
while read -r cgroup; do echo 0 >"$cgroup/cgroup.procs"; done <<<"$JOIN"
exec nsenter --target "$CHASSIS" --pid bash -euc '
setsid unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child \
    bash -euc "$NODE_SCRIPT" </dev/null >>"$NODE_DIR/boot.log" 2>&1 &'
