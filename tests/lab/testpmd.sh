#!/bin/busybox sh
# Records DPDK's testpmd in the POWER lab: testpmd.sh FOLDER DEVICE MBUFS [OPTIONS OF DPDK]…
# The folder gets trace.jsonl, and in "lost" how many huge pages did not come back.
# xtask/src/peers runs it and reads both.

out=$1 device=$2 mbufs=$3
shift 3

# DPDK takes plug-ins only from folders that nobody but root can write to, and the lab's root is open to all.
chmod 755 /
mkdir -p /run /var/run "$out"
printf 'port stop all\nport start all\nquit\n' >commands
plugins=/usr/lib/powerpc64le-linux-gnu/dpdk/pmds-23.0
free() { cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages; }

before=$(free)
# The one processor stands for two: testpmd wants one to forward.
tce trace record --output "$out/trace.jsonl" -- /usr/bin/dpdk-testpmd "$@" --lcores 0@0,1@0 -a "$device" \
    -d $plugins/librte_net_e1000.so.23 -d $plugins/librte_mempool_ring.so.23 \
    -- --no-mlockall --total-num-mbufs="$mbufs" -i --cmdline-file=commands
code=$?
# It leaves its files, to be faster next time.
rm -f /dev/hugepages/rtemap_*
echo $((before - $(free))) >"$out/lost"
exit $code
