# Makes a node out of fresh namespaces: cable, disk, devices, cgroups; then becomes its init.
# Runs as pid 1 of the node with the host's root still in sight, and ends in node-boot with it gone.
#
# Environment: NODE NODE_DIR IMAGE HOME_DIR SHARED_DIR STAGED_DIR CHASSIS ADDRESS MAC ROLE
#              HIERARCHIES (lines "name|fstype|options", "." for one that is /sys/fs/cgroup itself)
R=$NODE_DIR/root
switch=/proc/$CHASSIS/ns/net
hostname "$NODE"

# The cable. A constant address on it, or the others would go on sending to the one from before a restart.
ip link set lo up
nsenter --net="$switch" ip link del "$NODE" 2>/dev/null || true
ip link add eth0 address "$MAC" type veth peer name "$NODE" netns "$switch"
nsenter --net="$switch" ip link set "$NODE" master br0 up
ip addr add "$ADDRESS" dev eth0
ip link set eth0 up

# The disk: the image is never written; what the node writes outlives a power loss in upper/.
mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$NODE_DIR/upper,workdir=$NODE_DIR/work" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mount --bind "$HOME_DIR" "$R/home"
mount --bind "$SHARED_DIR" "$R/shared"

# Devices: the usual ones, the tunnel that pasta needs, terminals of its own.
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
mkdir "$R/dev/net" "$R/dev/pts" "$R/dev/shm"
for device in null zero full random urandom tty fuse net/tun; do
    [ -e "/dev/$device" ] || { echo "node: the machine has no /dev/$device"; continue; }
    : >"$R/dev/$device"
    mount --bind "/dev/$device" "$R/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s fd/0 "$R/dev/stdin"
ln -s fd/1 "$R/dev/stdout"
ln -s fd/2 "$R/dev/stderr"

# Cgroups: in the node's cgroup namespace each hierarchy begins at the node's own cgroup.
if ! grep -q '^\.|' <<<"$HIERARCHIES"; then mount -t tmpfs -o mode=755 tmpfs "$R/sys/fs/cgroup"; fi
while IFS='|' read -r name fstype options; do
    mkdir -p "$R/sys/fs/cgroup/$name"
    mount -t "$fstype" ${options:+-o "$options"} cgroup "$R/sys/fs/cgroup/$name"
    [ "$name" = . ] || continue
    # Version 2 alone: processes live in leaves, so that the root can hand its controllers down.
    mkdir -p "$R/sys/fs/cgroup/init"
    while read -r pid; do echo "$pid" >"$R/sys/fs/cgroup/init/cgroup.procs"; done <"$R/sys/fs/cgroup/cgroup.procs"
    for controller in $(cat "$R/sys/fs/cgroup/cgroup.controllers"); do
        echo "+$controller" >"$R/sys/fs/cgroup/cgroup.subtree_control" || true
    done
done <<<"$HIERARCHIES"

# Files staged since the last boot. Those from before are on the disk, perhaps changed there since.
installed=$(cat "$NODE_DIR/installed" 2>/dev/null || echo 0)
while read -r number mode path; do
    [ "$number" -gt "$installed" ] || continue
    install -D -m "$mode" "$STAGED_DIR/$number" "$R$path"
    echo "$number" >"$NODE_DIR/installed"
done <"$STAGED_DIR/list"
echo "$NODE" >"$R/etc/hostname"

cd "$R"
pivot_root . mnt
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    chroot . /bin/bash -eu /usr/local/sbin/node-boot "$ROLE"
