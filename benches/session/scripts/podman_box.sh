# A place for podman to run in, with mounts, network and pids of its own: all is gone when it ends. It does what
# it is told on its standard input, a line at a time, and says `done STATUS` after each.
# Runs with IMAGE (the node image) and PEER (what podman_image.sh made of it).
root=$PEER/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$PEER/upper,workdir=$PEER/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
# crun refuses a tree with both versions in it.
if mountpoint -q "$root/sys/fs/cgroup/unified"; then umount "$root/sys/fs/cgroup/unified"; fi
# podman's own files are on the disk itself, since an overlay cannot be the upper part of another.
mkdir -p "$root/box" "$root/node-image"
mount --bind "$PEER/box" "$root/box"
mount --bind "$IMAGE" "$root/node-image"
ip link set lo up
cd "$root"
mkdir -p mnt
pivot_root . mnt
cd /
umount -l /mnt
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PODMAN_IGNORE_CGROUPSV1_WARNING=1
podman() {
    command podman --root /box/storage --runroot /run/box --storage-driver overlay --cgroup-manager cgroupfs \
        --events-backend file --runtime crun --log-level error "$@"
}
set +e
echo "done 0"
while read -r line; do
    eval "$line" </dev/null
    echo "done $?"
done
podman rm --all --force --time 0 >/dev/null
