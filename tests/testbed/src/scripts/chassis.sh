# The chassis: what holds a cluster together. Runs on the host in the cluster's cgroup; its init is pid 1 of
# the cluster's pid namespace and holds the network namespace that is the cluster's switch. When it dies,
# the kernel ends every node with it, so `down` cannot forget one.
#
# Environment: JOIN (cgroups, one a line), HOST_LINK, HOST_ADDRESS, READY (file that tells the switch stands).
set -eu
if [ "${1:-}" != init ]; then
    while read -r cgroup; do echo 0 >"$cgroup/cgroup.procs"; done <<<"$JOIN"
    exec 9</proc/self/ns/net # the host's network, to which the uplink goes
    exec unshare --net --pid --fork --kill-child bash "$0" init
fi

host_net=/proc/self/fd/9
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
ip link add uplink master br0 type veth peer name "$HOST_LINK" netns "$host_net"
ip link set uplink up
nsenter --net="$host_net" ip addr add "$HOST_ADDRESS" dev "$HOST_LINK"
nsenter --net="$host_net" ip link set "$HOST_LINK" up
exec 9<&-
: >"$READY"
while :; do sleep infinity & wait $!; done # reaps what the nodes leave
