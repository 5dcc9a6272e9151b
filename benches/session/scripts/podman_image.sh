# Adds podman to the node image, in a folder of its own: the image itself is not changed.
# Runs on the host as root in a mount namespace of its own, with IMAGE (the node image) and PEER (an empty folder).
# This text is the folder's identity: any change to it makes a new one.
root=$PEER/root
mkdir -p "$PEER/upper" "$PEER/work" "$root" "$PEER/box"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$PEER/upper,workdir=$PEER/work" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
rm -f "$root/etc/resolv.conf"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
mkdir -p "$root/etc/ssl/certs"
mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
# The machine's answers to "how do I reach the archive".
apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$root/etc/apt/apt.conf.d/99build" || true
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        LC_ALL=C.UTF-8 HOME=/root chroot "$root" "$@"
}

# crun loads libcriu, which like the image's CRIU is of Debian testing; nothing else comes from there.
mirror=$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")
echo "deb [check-valid-until=no] $mirror testing main" >"$root/etc/apt/sources.list.d/testing.list"
cat >"$root/etc/apt/preferences.d/testing" <<PIN
Package: *
Pin: release a=testing
Pin-Priority: 50

Package: criu libcompel* libcriu* python3-pycriu libnl-*
Pin: release a=testing
Pin-Priority: 990
PIN
inside apt-get -qq update
inside apt-get -qq -y -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false install podman crun libcriu2 zstd
inside apt-get clean
inside podman --version
