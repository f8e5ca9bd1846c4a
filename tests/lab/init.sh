#!/bin/busybox sh
# The first process of the POWER lab's machine: prepares it, runs one command, tells the console how
# that went, and powers off. xtask/src/lab/console.rs reads what is printed here; /lab/run names the
# run, so that nothing the command prints can be taken for it.

/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/hugepages /lab/out /root /tmp
mount -t tmpfs tmp /tmp
hostname lab
# The console belongs to the command; the kernel's words are read from its log afterwards.
dmesg -n 1

. /lab/run
mark() { printf '\n@@tce-lab %s %s@@\n' "$TCE_LAB_RUN" "$*"; }

while read -r module; do
    insmod "/lab/modules/$module.ko" || echo "init: cannot insert $module"
done </lab/modules/order

for device in /sys/bus/pci/devices/*; do
    case " $TCE_LAB_DEVICES " in
    *" $(cat "$device/vendor"):$(cat "$device/device") "*) ;;
    *) continue ;;
    esac
    echo vfio-pci >"$device/driver_override"
    echo "${device##*/}" >/sys/bus/pci/drivers_probe
done

pool=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
if [ -f "$pool" ]; then
    echo "$TCE_LAB_HUGE_PAGES" >"$pool"
    mount -t hugetlbfs -o pagesize=2M none /dev/hugepages
fi

pool=/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages
[ -f "$pool" ] && echo "$TCE_LAB_GIANT_PAGES" >"$pool"

dmesg -c >/lab/boot.log
mark start
(cd /root && exec sh /lab/command) </dev/null 2>&1
code=$?
mark exit "$code"

mark kernel
dmesg | grep -E -A 12 'WARNING:|BUG:|Oops|Call Trace|KUAP|rcu.*(stall|starv)|soft lockup|blocked for more than|Kernel panic'
mark kernel-end

cd /lab/out && find . -type f | sort | while read -r file; do
    mark file "$(crc32 "$file" | cut -c 1-8)" "$(stat -c %s "$file")" "${file#./}"
    base64 "$file"
    mark file-end
done
mark done
poweroff -f
