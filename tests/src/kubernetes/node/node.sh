#!/usr/bin/env bash
# A node: containerd and the kubelet in namespaces of their own, on a root of their own that shows the machine's files
# and keeps what is written to itself. It is started in the node's network namespace and version 2 cgroup.
#
# FOLDER     the node's files: `etc` becomes its /etc/kubernetes
# PROGRAMS   where Kubernetes' programs are
# CGROUPS    its control groups, one per hierarchy, as PLACE=GROUP
# V1, V2     the groups that are version 1, and the one that is version 2
# NAME, ADDRESSES
set -euo pipefail

case "${1:-}" in
  "")
    for group in $V1; do echo $$ >"$group/cgroup.procs"; done
    exec unshare --cgroup bash "$0" below
    ;;
  below)
    # The kubelet hands controllers on from the node's group, which of version 2 may then hold no process itself.
    mkdir "$V2/init"
    echo $$ >"$V2/init/cgroup.procs"
    # Its first process dies with this one, and all others with the first.
    exec unshare --mount --uts --ipc --pid --fork --kill-child=KILL --propagation private bash "$0" inside
    ;;
esac

hostname "$NAME"
cd "$FOLDER"
mkdir root upper work containerd kubelet
mount -t overlay overlay -o "lowerdir=/,upperdir=$FOLDER/upper,workdir=$FOLDER/work" root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
[ -z "$V1" ] || mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
for group in $CGROUPS; do
  mkdir -p ".${group%%=*}"
  mount --bind "${group#*=}" ".${group%%=*}"
done
mount -t bpf bpf sys/fs/bpf
mount --rbind /dev dev
for own in run tmp var/tmp; do mount -t tmpfs tmpfs $own; done
chmod 1777 tmp var/tmp
mkdir -p var/lib/{containerd,kubelet} etc/{kubernetes,cni/net.d} opt/{cni/bin,kubernetes} old
# An overlay has its upper folder on no overlay.
mount --bind ../containerd var/lib/containerd
mount --bind ../kubelet var/lib/kubelet
mount --bind "$PROGRAMS" opt/kubernetes
rm -rf etc/cni/net.d/*
cp -r ../etc/. etc/kubernetes/
printf '127.0.0.1 localhost\n' >etc/hosts
# A pod's network waits two seconds for somebody else with its IPv6 address, unless it is told that there is nobody.
cat >opt/cni/bin/ptp-at-once <<'PLUGIN'
#!/bin/sh
[ "$CNI_COMMAND" != ADD ] || nsenter --net="$CNI_NETNS" sysctl -qw net.ipv6.conf.default.accept_dad=0
exec /usr/lib/cni/ptp
PLUGIN
chmod +x opt/cni/bin/ptp-at-once
# The kubelet sets these, which are the machine's: it gets files to write to.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_max{keys,bytes}; do
  copy=run/sysctl-${setting//\//.}
  cat "proc/sys/$setting" >"$copy"
  mount --bind "$copy" "proc/sys/$setting"
done
pivot_root . old
cd /
umount -l /old
# Pods may ask that what is mounted on either side is seen on the other.
mount --make-rshared /

export PATH=/opt/kubernetes:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
forever() {
  while :; do
    "$@" || echo "$1 ended with $?" >&2
    sleep 1
  done
}
forever containerd --config /etc/kubernetes/containerd.toml &
forever kubelet --config /etc/kubernetes/kubelet.json --kubeconfig /etc/kubernetes/kubelet.kubeconfig \
  --hostname-override "$NAME" --node-ip "$ADDRESSES"
