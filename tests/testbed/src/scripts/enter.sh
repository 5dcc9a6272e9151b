# Runs a command in a node, from the host: `enter.sh PID USER COMMAND...`.
# Joins the node's cgroups (JOIN, one a line), enters all its namespaces, becomes the user as a login would.
set -eu
target=$1
shift
while read -r cgroup; do echo 0 >"$cgroup/cgroup.procs"; done <<<"$JOIN"
unset JOIN
# The death signal makes the command end with whoever asked for it, as it would over a lost connection.
clocks=()
if [ -e /proc/self/ns/time ]; then clocks=(--time); fi
exec nsenter --target "$target" --mount --uts --ipc --net --pid --cgroup "${clocks[@]}" -- /bin/bash -euc '
user=$1
shift
group=$(id -g "$user")
exec setpriv --reuid "$user" --regid "$group" --init-groups --reset-env -- \
    setpriv --pdeathsig KILL -- \
    env PATH=/opt/jupyter/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 \
    bash -c "cd ~ 2>/dev/null || cd /; exec \"\$@\"" enter "$@"
' enter "$@"
