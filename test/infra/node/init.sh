# The first process of the node's namespaces. It gives the node folders of its own, and ends all of it when its standard input ends.
# $1: the folder of the node's data.
set -e
mount --make-rprivate /
mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
ip link set lo up
echo ready
exec 3<&0
# A wait, since a shell that waits also reaps what programs in the namespace leave behind. Who kills all of them kills cat too.
while
	cat <&3 >/dev/null &
	wait "$!"
	[ "$?" -gt 128 ]
do :; done
