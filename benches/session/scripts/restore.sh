# Plain CRIU's restore into fresh namespaces, run on a node: `restore.sh FOLDER STDOUT_INODE STDERR_INODE TREE...`.
# Prints its pid, whose network is the session's; when it began; and when CRIU was done. The session ends with it.
exec unshare --net bash -euc 'echo "$$ $EPOCHREALTIME"; exec unshare --mount --pid --fork --kill-child bash -euc "$@"' \
    outer '
folder=$1 out=$2 err=$3
shift 3
mount --make-rslave /
mount -t proc proc /proc
# Nothing that runs here from now on may take a pid of the session.
echo 30000 >/proc/sys/kernel/ns_last_pid
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
number=0
for tree; do
    mkdir -p "$tree"
    mount -t tmpfs tmpfs "$tree"
    tar -C "$tree" --extract --same-permissions --file "$folder/tree-$number.tar"
    number=$((number + 1))
done
ip link set lo up
exec 8> >(exec cat >/dev/null) 9> >(exec cat >/dev/null)
pipes=(--inherit-fd "fd[8]:pipe:[$out]")
[ "$out" = "$err" ] || pipes+=(--inherit-fd "fd[9]:pipe:[$err]")
criu restore --images-dir "$folder/images" --log-file restore.log -v2 --restore-detached \
    --tcp-established --link-remap --file-locks --manage-cgroups=ignore "${pipes[@]}" ||
    { grep Error "$folder/images/restore.log" >&2; exit 1; }
echo "$EPOCHREALTIME"
while :; do sleep infinity & wait $!; done
' inner "$@"
