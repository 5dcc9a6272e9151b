# The node's own boot, inside it: the daemons, then an init that reaps. If one fails to start the node dies,
# and boot.log on the host tells why.
role=$1
umount -l /mnt # the host's root
cd /

mkdir -p /run/lock
install -d -o munge -g munge -m 755 /run/munge
install -d -o munge -g munge -m 700 /etc/munge /var/log/munge /var/lib/munge
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
setpriv --reuid munge --regid munge --init-groups munged

# Slurm's daemons go to the background first and may fail there: they are up when they write their pid. One that
# forks just now can escape pgrep's eye, so only one that is not seen ten times in a row has ended.
start() {
    local daemon=$1 unseen=0
    "$@"
    until [ -s "/run/$daemon.pid" ]; do
        if pgrep -x "$daemon" >/dev/null; then unseen=0; else unseen=$((unseen + 1)); fi
        if [ "$unseen" -ge 10 ]; then
            echo "$daemon ended; the last lines of its log:"
            tail -n 15 "/var/log/slurm/$daemon.log"
            exit 1
        fi
        sleep 0.02
    done
}
case $role in
    controller) start slurmctld ;;
    # Without a clock of its own the node says in this way that it was switched off.
    compute) if [ -e /proc/self/ns/time ]; then start slurmd; else start slurmd -b; fi ;;
esac
: >/run/testbed-booted
while :; do sleep infinity & wait $!; done
