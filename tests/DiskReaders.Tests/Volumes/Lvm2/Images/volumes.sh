# Runs in the kernel of kernel.sh; what it prints is named SUM, group/volume, bytes, SHA-256.
pattern() { awk -v n="$1" -v c="$2" 'BEGIN{for(b=0;b<c;b++){s=sprintf("%-10s%05d\n",n,b);while(length(s)<4096)s=s s;printf "%s",s}}'; }
fill() { pattern "$2" $(($(blockdev --getsize64 "/dev/$1") / 4096)) | dd of="/dev/$1" bs=64k conv=fsync 2>/dev/null; }
over() { pattern "$2" "$4" | dd of="/dev/$1" bs=4k seek="$3" conv=notrunc,fsync 2>/dev/null; }
say() { printf 'SUM\t%s\t%s\t%s\n' "$2" "$(blockdev --getsize64 "/dev/$1")" "$(sha256sum < "/dev/$1" | cut -d' ' -f1)"; }
sum() { say "$1" "$1"; }
lv() { lvm "$@" 1>&2; }
make() { lv lvcreate -y -Wn -Zn "$@"; }
disks() { local n=$1; shift; eval "$(for i in "$@"; do printf 'd%s=/dev/vd%s\n' "$i" "$(printf abcdefghijklmnopqrstuvwxyz | cut -c $((n + i)))"; done)"; }

# Linear and striped in several pieces; two metadata areas, one, none; texts that went round their area; an unused one.
disks 0 1 2 3 4
lv pvcreate --metadatacopies 2 --metadatasize 32k --dataalignment 64k $d1
lv pvcreate --metadatasize 32k --dataalignment 64k $d2
lv pvcreate --metadatacopies 0 $d3
lv pvcreate $d4
lv vgcreate -s 512k plain $d1 $d2 $d3
make -L 2M -n linear plain
make -i3 -I 4k -L 3M -n striped plain
make -L 1M -n files plain
lv lvextend -L 4M plain/linear
lv lvextend -i2 -I 8k -L 6M plain/linear $d2 $d3
/sbin/mke2fs -q -t ext2 -b 1024 /dev/plain/files 1>&2
mount -t ext4 /dev/plain/files /mnt; for i in 1 2 3; do pattern "file$i" $((i * 7)) > /mnt/file$i; done; umount /mnt
fill plain/linear linear; fill plain/striped striped
for v in linear striped files; do sum plain/$v; done
i=0; while [ $i -lt 80 ]; do lv vgchange --addtag "t$i" plain; lv vgchange --deltag "t$i" plain; i=$((i + 8)); done

# Every RAID type.
disks 4 1 2 3 4 5 6
lv vgcreate -s 512k raid $d1 $d2 $d3 $d4 $d5 $d6
for t in raid4 raid5_la raid5_ra raid5_ls raid5_rs raid5_n raid6_zr raid6_nr raid6_nc raid6_la_6 raid6_ra_6 raid6_ls_6 raid6_rs_6 raid6_n_6; do
    make --type $t -i 3 -I 4k -L 1536K -n $t raid
done
make --type raid1 -m 2 -L 1M -n raid1 raid
make --type raid10 -i 2 -m 1 -I 4k -L 1M -n raid10 raid
make --type raid0 -i 3 -I 4k -L 1536K -n raid0 raid
make --type raid0_meta -i 3 -I 4k -L 1536K -n raid0_meta raid
make --type mirror -m 1 -L 1M -n mirror raid
make --type raid5_ls -i 3 -I 4k -L 1536K -n reshaped raid
sleep 1
for v in $(lvm lvs --noheadings -o name raid); do fill raid/$v $v; done
lv lvconvert -y --stripesize 8k raid/reshaped || true
while lvm lvs --noheadings -o sync_percent raid | grep -v 100.00 | grep -q '[0-9]'; do sleep 1; done
lv lvs -a -o name,segtype,sync_percent,data_offset,reshape_len raid
for v in $(lvm lvs --noheadings -o name raid); do sum raid/$v; done

# Thin volumes, their snapshots, one over an outer origin, one empty, a pool over RAID1.
disks 10 1 2
lv vgcreate -s 512k thin $d1 $d2
make -L 2M -n outer thin $d1
fill thin/outer outer
lv lvcreate -y --type thin-pool -L 8M -c 64k --poolmetadatasize 2M -n pool thin $d1
lv lvcreate -y -V 4M --thinpool pool -n one thin
over thin/one one 3 600
lv lvcreate -y -kn -s thin/one -n two
over thin/two two 100 200
over thin/one uno 500 300
lv lvchange -an thin/outer; lv lvchange -pr thin/outer
lv lvcreate -y -kn -s thin/outer --thinpool thin/pool -n three
over thin/three three 17 40
# Larger than its pool. (In the images kept here 1 GiB: to sum up so much takes an emulated processor a minute.)
lv lvcreate -y -V 32M --thinpool pool -n empty thin
make --type raid1 -m 1 -L 2M -n safe thin
lv lvconvert -y --type thin-pool -c 128k --poolmetadatasize 2M thin/safe
lv lvcreate -y -V 3M --thinpool safe -n onsafe thin
over thin/onsafe onsafe 1 300
lv lvchange -ay thin/outer
for v in outer one two three empty onsafe; do sum thin/$v; done

# Snapshots of the older kind; one to be merged at the next activation.
disks 12 1
lv vgcreate -s 512k cow $d1
make -L 2M -n origin cow
fill cow/origin origin
lv lvcreate -y -s -c 4k -L 1M -n snap1 cow/origin
over cow/origin after 10 60
over cow/snap1 insnap 30 80
lv lvcreate -y -s -c 16k -L 1M -n snap2 cow/origin
over cow/origin later 300 31
for v in origin snap1 snap2; do sum cow/$v; done
make -L 1M -n back cow
fill cow/back back
lv lvcreate -y -s -c 8k -L 1M -n backsnap cow/back
over cow/back gone 7 70
over cow/backsnap stays 50 60
say cow/backsnap cow/back
exec 3< /dev/cow/back
lv lvconvert --merge cow/backsnap
exec 3<&-

# Caches with dirty blocks.
disks 13 1 2
lv vgcreate -s 512k cache $d1 $d2
for v in back through volume write; do make -L 2M -n $v cache $d1; fill cache/$v $v; done
for v in back through; do
    lv lvcreate -y --type cache-pool -c 32k -L 1M --poolmetadatasize 2M -n fast$v cache $d2
    lv lvconvert -y --type cache --cachepolicy smq --cachemode write$v --cachepool cache/fast$v cache/$v
done
make -L 3M -n fastvolume cache $d2
lv lvconvert -y --type cache --cachepolicy smq --cachemode writeback --cachevol fastvolume --chunksize 32k cache/volume
make -L 2M -n fastwrite cache $d2
lv lvchange -an cache/write cache/fastwrite
lv lvconvert -y --type writecache --cachevol fastwrite cache/write
lv lvchange -ay cache/write
for v in back through volume write; do for i in 1 2 3 4; do over cache/$v hot$i 40 20; over cache/$v warm$i 200 64; dd if=/dev/cache/$v of=/dev/null bs=32k 2>/dev/null; done; done
for v in back through volume write; do sum cache/$v; done
dmsetup status 1>&2

# RAID1 with checksums.
disks 15 1 2
lv vgcreate -s 512k integrity $d1 $d2
make --type raid1 -m 1 --raidintegrity y -L 1M -n journal integrity
make --type raid1 -m 1 --raidintegrity y --raidintegritymode bitmap -L 1M -n bitmap integrity
for v in journal bitmap; do fill integrity/$v $v; sum integrity/$v; done

dmsetup table 1>&2
sync
lv vgchange -an
