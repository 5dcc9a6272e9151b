#!/bin/bash
# Builds the node image: everything that a node of the test cluster has on its disk.
#
# Runs on the host as root, in a mount and pid namespace of its own (so that no mount outlives it),
# with:  ROOT        the folder to build in, empty
#        MIRROR      the Debian archive, from the machine's own apt configuration
#        PIP_WHERE   lines KEY=VALUE, the machine's own pip settings
# This text is the image's identity: any change to it, a comment too, builds a new image.
set -euo pipefail
say() { echo "image: $*" >&2; }

SUITE=trixie
NODE_PACKAGES=(
    slurmctld slurmd slurm-client slurm-wlm-basic-plugins libslurm-dev munge
    iproute2 passt procps psmisc strace util-linux ca-certificates netbase libcap2-bin
    python3 python3-venv less vim-tiny curl
)
JUPYTER_PACKAGES=(jupyterlab ipykernel numpy terminado)

# The machine's answers to "how do I reach the archive": proxies and time-outs, for apt in the new root.
apt_settings() { apt-config dump 2>/dev/null | grep -E '^Acquire::(http|https|Retries|Check-)' || true; }

# Makes a path of the host visible at the same place in the new root, for the length of the build.
borrowed=()
borrow() {
    local path=$1
    [ -e "$path" ] || return 0
    if [ ! -e "$ROOT$path" ]; then
        if [ -d "$path" ]; then mkdir -p "$ROOT$path"; else mkdir -p "$(dirname "$ROOT$path")"; : >"$ROOT$path"; fi
        borrowed+=("$path")
    fi
    mount --bind "$path" "$ROOT$path"
    mount -o remount,bind,ro "$ROOT$path"
    mounts+=("$ROOT$path")
}
mounts=()
return_borrowed() {
    local i
    for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do umount "${mounts[i]}"; done
    for path in "${borrowed[@]}"; do
        if [ -d "$ROOT$path" ]; then rmdir "$ROOT$path"; else rm -f "$ROOT$path"; fi
    done
    mounts=() borrowed=()
}

inside() {
    env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root TMPDIR=/tmp \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$ROOT" "$@"
}
apt_inside() { inside apt-get -qq -y -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@" >&2; }

say "bootstrapping Debian $SUITE"
debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$ROOT" "$MIRROR" >&2

printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d" # no service starts while it is installed
chmod 755 "$ROOT/usr/sbin/policy-rc.d"
apt_settings >"$ROOT/etc/apt/apt.conf.d/99build"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/tmp"
mounts+=("$ROOT/proc" "$ROOT/tmp")
rm -f "$ROOT/etc/resolv.conf" "$ROOT/etc/hosts"
borrow "$(readlink -f /etc/resolv.conf)"
if [ ! -e "$ROOT/etc/resolv.conf" ]; then ln -s "$(readlink -f /etc/resolv.conf)" "$ROOT/etc/resolv.conf"; fi
borrow /etc/hosts
borrow /etc/ssl/certs

say "installing Slurm and what the nodes need"
apt_inside update
apt_inside install "${NODE_PACKAGES[@]}"

# CRIU before 4.2 cannot dump a Jupyter session on recent kernels, so this one package, and what only it
# needs, comes from Debian testing; the pin keeps everything else at home.
say "installing CRIU from Debian testing"
cat >"$ROOT/etc/apt/sources.list.d/testing.list" <<SOURCE
deb [check-valid-until=no] $MIRROR testing main
SOURCE
cat >"$ROOT/etc/apt/preferences.d/testing" <<PIN
Package: *
Pin: release a=testing
Pin-Priority: 50

Package: criu libcompel* libcriu* python3-pycriu libnl-*
Pin: release a=testing
Pin-Priority: 990
PIN
apt_inside update
apt_inside install criu
inside criu --version >&2
case "$(inside criu --version)" in
    *"Version: 4.2"* | *"Version: 4."[3-9]* | *"Version: "[5-9]*) ;;
    *) say "CRIU is older than 4.2: Debian testing on this mirror is not what it should be"; exit 1 ;;
esac
rm "$ROOT/etc/apt/sources.list.d/testing.list" "$ROOT/etc/apt/preferences.d/testing"

say "installing JupyterLab"
pip_env=()
while IFS='=' read -r key value; do
    [ -n "$key" ] || continue
    pip_env+=("PIP_$key=$value")
    for word in $value; do case "$word" in /*) borrow "$word" ;; esac; done
done <<<"$PIP_WHERE"
inside python3 -m venv /opt/jupyter
inside env "${pip_env[@]}" PIP_NO_CACHE_DIR=1 /opt/jupyter/bin/pip install -q --no-input "${JUPYTER_PACKAGES[@]}" >&2
inside /opt/jupyter/bin/jupyter --version >&2

say "adding users"
inside groupadd -g 2001 alice
inside groupadd -g 2002 bob
inside groupadd -g 2100 science
inside useradd -M -u 2001 -g alice -G science -s /bin/bash alice
inside useradd -M -u 2002 -g bob -G science -s /bin/bash bob
mkdir -p "$ROOT/shared" "$ROOT/etc/slurm" "$ROOT/var/log/slurm" "$ROOT/var/spool/slurmd" "$ROOT/var/spool/slurmctld"
inside chown slurm:slurm /var/log/slurm /var/spool/slurmctld

apt_inside clean
return_borrowed
rm -f "$ROOT/etc/apt/apt.conf.d/99build" "$ROOT/usr/sbin/policy-rc.d" "$ROOT/etc/resolv.conf"
echo '# The test cluster has no name server; /etc/hosts knows its nodes.' >"$ROOT/etc/resolv.conf"
rm -rf "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/log/munge/* "$ROOT"/etc/munge/munge.key
say "done"
