using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Tests.Containers;
using Vmsweep.DiskReaders.Tests.Containers.Ova;
using Vmsweep.DiskReaders.Tests.Containers.Parallels;
using Vmsweep.DiskReaders.Tests.Containers.Qcow2;
using Vmsweep.DiskReaders.Tests.Containers.Vdi;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;
using Vmsweep.DiskReaders.Tests.FileSystems.Udf;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.DiskReaders.Tests.Volumes.BitLocker;
using Vmsweep.DiskReaders.Tests.Volumes.Luks;
using Vmsweep.DiskReaders.Tests.Containers.Vma;
using Vmsweep.DiskReaders.Tests.Containers.Xva;
using Vmsweep.DiskReaders.Tests.Volumes.Ldm;
using Vmsweep.DiskReaders.Tests.Volumes.Md;
using Vmsweep.DiskReaders.Tests.FileSystems.Xfs;
using Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.Inspection.Registry;
using Vmsweep.Golden;

namespace Vmsweep.Fuzz;

/// <summary>Small sound images to begin from, made by other people's tools where these can and by the tests' writers where not.</summary>
internal static class FuzzSeeds
{
    private static readonly Guid ParentId = new("5f1e6d0c-7c5e-4c52-9b0a-6d6f2c1b7a10");

    private const string PackedTree = """
        mkdir -p tree/a/b tree/many; head -c 30000 /bin/bash > tree/code; head -c 5000 /dev/urandom > tree/noise; printf tiny > tree/tiny
        truncate -s 300000 tree/sparse; printf mid | dd of=tree/sparse bs=1 seek=200000 conv=notrunc status=none
        for i in $(seq 1 30); do printf "content $i" > "tree/many/a name $i"; done; ln tree/tiny tree/a/hard; ln -s short tree/link; mkfifo tree/fifo
        """;

    /// <summary>Files that images under attack name: they stay sound.</summary>
    public static IReadOnlyDictionary<string, byte[]> Companions { get; } = new Dictionary<string, byte[]>(StringComparer.Ordinal)
    {
        ["flat"] = new byte[8192],
        ["hosted"] = VmdkImages.Hosted([Grain.Data(1)]),
        ["base.vmdk"] = VmdkImages.Text(VmdkImages.Descriptor("vmfs", "RW 16 VMFS \"flat\"", 0xBEEF)),
        ["base.vhd"] = new VhdWriter { Id = ParentId }.Block(0, VhdWriter.Noise(1, 64 << 10)).Build(),
        [$"{{{ParentId:D}}}.vdi"] = new VdiWriter { Id = ParentId }.Block(1, VdiWriter.Noise(1, 64 << 10)).Build(),
        ["base.qcow2"] = new Qcow2Writer().Data(1, Qcow2Writer.Noise(1)).Build(),
        ["a.hds"] = new ParallelsWriter().Cluster(0, ParallelsWriter.Noise(1, 4096)).Build(),
        ["b.hds"] = new ParallelsWriter().Cluster(3, ParallelsWriter.Noise(2, 4096)).Build(),
        ["base.vhdx"] = new VhdxWriter { DataWriteGuid = ParentId }.Block(0, 6, VhdxWriter.Noise(1, VhdxWriter.Megabyte)).Build(),
    };

    /// <summary>A descriptor that places an extent which says nothing of its disk.</summary>
    public static byte[] DescriptorOver(string createType) => VmdkImages.Text(createType == "seSparse"
        ? VmdkImages.Descriptor(createType, "RW 192 SESPARSE \"extent\"")
        : VmdkImages.Descriptor(createType, "RW 200 VMFSSPARSE \"extent\""));

    public static IReadOnlyList<byte[]> Vmdk()
    {
        Grain[] grains = VmdkImages.Mixture(24, 2, zeros: true);
        Grain[] plain = VmdkImages.Mixture(24, 2, zeros: false);
        List<byte[]> seeds =
        [
            VmdkImages.Hosted(grains, VmdkImages.Descriptor("monolithicSparse", "RW 384 SPARSE \"disk.vmdk\"")),
            VmdkImages.Stream(plain, VmdkImages.Descriptor("streamOptimized", "RW 384 SPARSE \"disk.vmdk\"")),
            VmdkImages.CowDisk(VmdkImages.Mixture(200, 2, zeros: false)),
            VmdkImages.SeSparse(grains),
            VmdkImages.Text(VmdkImages.Descriptor("twoGbMaxExtentSparse", "RW 8 FLAT \"flat\" 0\nRW 4 ZERO\nRW 4 SPARSE \"hosted\"", 7, 0xBEEF, "base.vmdk")),
        ];
        seeds.AddRange(Made("""
            head -c 200000 /dev/urandom > raw; truncate -s 1M raw; printf end >> raw
            for f in monolithicSparse streamOptimized; do qemu-img convert -f raw -O vmdk -o subformat=$f raw disk-$f; done
            qemu-img convert -f raw -O vmdk -o subformat=streamOptimized,zeroed_grain=on raw disk-zeroed
            """));
        return seeds;
    }

    public static IReadOnlyList<byte[]> Vhdx()
    {
        const int Megabyte = VhdxWriter.Megabyte;
        const int DiskBytes = Megabyte + (64 << 10);
        byte[] bat = new byte[4096];
        VhdxWriter.U64(bat, 8, (4 << 20) | 6);
        (string, string)[] locator = [("parent_linkage", ParentId.ToString("B")), ("relative_path", "base.vhdx")];
        return
        [
            new VhdxWriter { DiskBytes = DiskBytes }.Block(1, 6, VhdxWriter.Noise(1, Megabyte)).Build()[..^(Megabyte - (64 << 10))],
            new VhdxWriter { Parent = locator }.Partial(1, VhdxWriter.Noise(5, Megabyte), i => i % 7 == 0).Build()[..^(Megabyte - (64 << 10))],
            new VhdxWriter { DiskBytes = DiskBytes }
                .Block(1, 6, VhdxWriter.Noise(1, Megabyte))
                .Log(254, 40, 254, [(VhdxWriter.BatAt, null, 8192)])
                .Log(255, 41, 254, [(VhdxWriter.BatAt, bat, 0), (VhdxWriter.BatAt + 4096, null, 4096)], flushed: 4 << 20, last: 6 << 20)
                .Build()[..^(Megabyte - (64 << 10))],
        ];
    }

    public static IReadOnlyList<byte[]> Hive()
    {
        byte[] before = PackedHive.Small("a").Build();
        byte[] after = PackedHive.Small("b").Text("Microsoft", "More", new string('x', 2000)).Build();
        return
        [
            PackedHive.Pack(before, [], []),
            PackedHive.Pack(HiveWriter.Dirty(before), HiveWriter.NewLog(before, after, 7), []),
            PackedHive.Pack(HiveWriter.Dirty(before), HiveWriter.OldLog(before, after), []),
        ];
    }

    public static IReadOnlyList<byte[]> Tar() => Made("""
        long=$(printf 'long-%.0s' $(seq 1 25))/$(printf 'name-%.0s' $(seq 1 25)); mkdir -p $(dirname $long); printf abc > $long; printf d > d; ln -s d e; truncate -s 40K hole; printf x >> hole
        for f in ustar gnu oldgnu pax v7; do tar --format=$f --ignore-failed-read -b 1 -cf disk-$f d e hole $([ $f = v7 ] || [ $f = ustar ] || echo $long); done
        tar --format=pax -b 1 -cSf disk-sparse hole d; tar --format=gnu -b 1 -cSf disk-gnusparse hole d
        """);

    public static IReadOnlyList<byte[]> Gzip() => Made("""
        (seq 1 3000; head -c 3000 /dev/urandom; head -c 300000 /dev/zero; seq 1 500) > raw
        gzip -1 < raw > disk-1; gzip -9N < raw > disk-9; (gzip -c d raw 2>/dev/null || true; seq 1 9 | gzip; seq 1 9 | gzip; head -c 600 /dev/zero) > disk-members
        python3 -c 'import sys,gzip; sys.stdout.buffer.write(gzip.compress(open("raw","rb").read()[:9000], 0))' > disk-stored
        python3 -c 'import sys,zlib; c=zlib.compressobj(6,8,31,8,zlib.Z_FIXED); sys.stdout.buffer.write(c.compress(open("raw","rb").read())+c.flush())' > disk-fixed
        """);

    public static IReadOnlyList<byte[]> Xva() =>
    [
        TarWriter.Archive(
            XvaWriter.First(XvaWriter.Descriptor("vm", ("Ref:4", 700, 0), ("Ref:5", XvaWriter.Chunk + 5000, 1))),
            XvaWriter.ChunkOf("Ref:4", 0, new byte[700]),
            XvaWriter.ChunkOf("Ref:5", 1, new byte[5000])),
    ];

    public static IReadOnlyList<byte[]> Vma()
    {
        byte[] some = new byte[VmaWriter.Cluster];
        some[5000] = 1;
        some[9000] = 1;
        return [new VmaWriter().Config("qemu-server.conf", "name: a\n").Device(1, "drive-scsi0", 200_000).Device(2, "drive-scsi1", 100).Extent((1, 1, some), (2, 0, some)).Extent((1, 0, some), (1, 2, new byte[VmaWriter.Cluster])).Build()];
    }

    private static readonly (int Level, int Layout)[] MdShapes = [(-1, 0), (0, 0), (1, 0), (5, 2), (6, 8), (10, 0x102)];

    /// <summary>How many members an image of a volume manager has.</summary>
    public const int Members = 3;

    public static IReadOnlyList<byte[]> Md() =>
    [
        .. MdShapes.Select(s => Enumerable.Range(0, Members).SelectMany(i => MdImages.V1(i, Members, s.Level, s.Layout)).ToArray()),
        [.. Enumerable.Range(0, Members).SelectMany(i => MdImages.V090(i, Members, 5))],
    ];

    public static void RepairMd(byte[] image)
    {
        int size = image.Length / Members;
        for (int i = 0; i < Members; i++)
        {
            Span<byte> member = image.AsSpan(i * size, size);
            if (size == MdImages.OldBytes)
            {
                MdImages.RepairV090(member);
            }
            else
            {
                MdImages.RepairV1(member);
            }
        }
    }

    public static IReadOnlyList<byte[]> Ldm() => [[.. new LdmImages().Disks.SelectMany(d => d)]];
    public static IReadOnlyList<byte[]> Vhd() =>
    [
        new VhdWriter { BlockBytes = 4096, DiskBytes = 40 << 10 }.Block(1, VhdWriter.Noise(1, 4096)).Block(9, VhdWriter.Noise(2, 4096), i => i % 3 == 0).Build(),
        new VhdWriter
        {
            BlockBytes = 4096, DiskBytes = 40 << 10, ParentId = ParentId, ParentName = "base.vhd", ParentTimeStamp = 1,
            Locators = [("W2ru", Encoding.Unicode.GetBytes("base.vhd")), ("MacX", "file://./base.vhd"u8.ToArray())],
        }.Block(2, VhdWriter.Noise(3, 4096), i => i % 2 == 0).Build(),
        new VhdWriter { DiskBytes = 4096 }.BuildFixed(new byte[4096]),
        .. Made("head -c 100000 /dev/urandom > raw; qemu-img convert -f raw -O vpc raw disk-vpc"),
    ];

    public static IReadOnlyList<byte[]> Vdi() =>
    [
        new VdiWriter { BlockBytes = 4096, DiskBytes = 40 << 10, ExtraBytes = 512 }.Block(3, VdiWriter.Noise(1, 4096)).Entry(4, VdiWriter.Zero).Block(5, VdiWriter.Noise(2, 4096)).Build(),
        new VdiWriter { BlockBytes = 4096, DiskBytes = 40 << 10, Type = 4, Parent = ParentId, ParentModify = ParentId }.Block(0, VdiWriter.Noise(1, 4096)).Build(),
    ];

    public static IReadOnlyList<byte[]> Qcow2()
    {
        byte[] text = [.. Enumerable.Range(0, Qcow2Writer.Cluster).Select(i => (byte)(i / 50))];
        return
        [
            new Qcow2Writer { Backing = "base.qcow2" }.Data(0, Qcow2Writer.Noise(1)).Entry(2, 1).Packed(3, text).Packed(4, Qcow2Writer.Noise(2)).Build(),
            new Qcow2Writer { Compression = 1, Features = 8 }.Data(0, Qcow2Writer.Noise(1)).Packed(3, text).Packed(5, text).Build(),
            .. Made("""
                qemu-img create -q -f qcow2 -o cluster_size=512 disk-states 40k
                for i in 1 2 3; do qemu-io -c "write -P $i 0 3k" -c "write -P $i ${i}0k 1k" disk-states > /dev/null; qemu-img snapshot -c "state $i" disk-states; done
                qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k disk-extended 128k
                qemu-io -c 'write -P 1 3k 5k' -c 'write -z 16k 1k' disk-extended > /dev/null
                """),
        ];
    }

    public static IReadOnlyList<byte[]> Parallels() =>
    [
        new ParallelsWriter().Cluster(0, ParallelsWriter.Noise(1, 4096)).Cluster(3, ParallelsWriter.Noise(2, 4096)).Build(),
        new ParallelsWriter { Extended = false, ClusterSectors = 63, Sectors = 300, Flags = 1 }.Cluster(1, ParallelsWriter.Noise(1, 63 * 512)).Build(),
        Encoding.UTF8.GetBytes(ParallelsWriter.Descriptor(64, [(0, 64, [(ParentId, "Compressed", "a.hds"), (ParallelsWriter.DefaultTop, "Compressed", "b.hds")])], [(ParentId, Guid.Empty), (ParallelsWriter.DefaultTop, ParentId)])),
        Encoding.UTF8.GetBytes(ParallelsWriter.Descriptor(80, [(0, 64, [(ParentId, "Compressed", "a.hds")]), (64, 80, [(ParentId, "Plain", "flat")])], [], ParentId)),
    ];

    public static IReadOnlyList<byte[]> Volumes() => Made("""
        truncate -s 256K fat; mkfs.fat -F 12 -s 1 fat >/dev/null; echo hello > hello.txt; mcopy -i fat hello.txt ::
        mke2fs -q -F -t ext2 -b 1024 -N 16 ext 100k
        put() { dd if=$2 of=$1 bs=512 seek=$3 conv=notrunc status=none; }
        truncate -s 700K disk-mbr
        printf 'label: dos\nstart=64,size=512,type=1\nstart=600,size=780,type=5\nstart=664,size=256,type=83\nstart=1000,size=100,type=7\n' | sfdisk -q --force disk-mbr >/dev/null 2>&1
        put disk-mbr fat 64; put disk-mbr ext 664
        truncate -s 700K disk-gpt
        printf 'label: gpt\nfirst-lba: 34\nstart=64,size=512,name=one\nstart=664,size=256\n' | sfdisk -q --force disk-gpt >/dev/null 2>&1
        put disk-gpt fat 64; put disk-gpt ext 664
        cp fat disk-fat; cp ext disk-ext
        """);

    public static IReadOnlyList<byte[]> BitLocker() =>
    [
        .. ((string[])["7", "vista", "togo", "eow"]).Select(form => new BitLockerWriter { Form = form, Method = form == "eow" ? 0x8005 : 0x8000, Bytes = 0xB_0000, Protectors = [BitLockerWriter.External, BitLockerWriter.Tpm] }.Make()),
        new BitLockerWriter { Method = 0x8002, State = 5, EncryptedBytes = 0x5_8000, Bytes = 0xB_0000, Protectors = [BitLockerWriter.Clear] }.Make(),
    ];

    public static void RepairBitLocker(byte[] image) =>
        BitLockerWriter.Repair(image, new BitLockerWriter { Form = image[1] == 0x52 ? "vista" : image[160 + 2] == 0xA8 ? "eow" : "7" });

    public static IReadOnlyList<byte[]> Luks() =>
    [
        LuksWriter.Luks1(),
        LuksWriter.Luks2(),
        LuksWriter.Luks2("\"32768\"", "\"33792\""),
        LuksWriter.Luks2("\"aes-cbc-plain64\",\"sector_size\"", "\"cipher_null-ecb\",\"sector_size\""),
    ];

    public static IReadOnlyList<byte[]> Ntfs() => Made("""
        mkdir mnt
        make() {
          truncate -s $2 disk-$1; mkntfs -q -F -f -p 0 -H 0 -S 0 $3 disk-$1 >/dev/null 2>&1
          ntfs-3g -o streams_interface=windows,compression disk-$1 mnt
          ( cd mnt; mkdir -p a/b many packed; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be packed
            head -c 9000 /dev/urandom > large; printf tiny > tiny; printf stream > tiny:second; ln tiny a/hard; ln -s tiny link
            truncate -s 3000000 sparse; printf mid | dd of=sparse bs=1 seek=1500000 conv=notrunc status=none
            (seq 1 4000; head -c 5000 /dev/urandom; seq 1 900) > packed/text; seq 1 20000 > packed/more
            for i in $(seq 1 30); do echo $i > "many/a rather long name of number $i"; done; for i in $(seq 1 60); do ln tiny a/b/n$i; done
            for i in $(seq 1 40); do head -c 4096 /dev/urandom > f$i; done; for i in $(seq 1 2 40); do rm f$i; done; head -c 90000 /dev/urandom > pieces )
          umount mnt
        }
        make 512 1200K '-s 512 -c 512'; make 4k 2600K '-c 4096'
        """);

    public static IReadOnlyList<byte[]> Fat() => Made("""
        for t in 12 16 32; do
          size=256; [ $t = 16 ] && size=2600; [ $t = 32 ] && size=34000
          truncate -s ${size}K disk-$t; mkfs.fat -F $t -s 1 -n LABEL disk-$t >/dev/null
          head -c 30000 /dev/urandom > large.bin; echo hi > 'a long name with spaces.text'; mmd -i disk-$t ::/SUB ::/SUB/DEEP
          mcopy -i disk-$t large.bin 'a long name with spaces.text' ::; mcopy -i disk-$t 'a long name with spaces.text' ::/SUB/DEEP/
        done
        # FAT32 needs 65,525 clusters; beyond the first megabytes all are free.
        head -c 2M disk-32 > disk-32-cut; rm disk-32
        """);

    public static IReadOnlyList<byte[]> ExFat() => Made("""
        for c in 512 4K; do
          truncate -s 1M disk-$c; mkfs.exfat -c $c -b 4K -L LABEL disk-$c > /dev/null
          loop=$(losetup -f --show disk-$c); mkdir -p mnt; mount.exfat-fuse $loop mnt > /dev/null
          ( cd mnt; mkdir -p d/e; for i in $(seq 1 20); do head -c 700 /dev/urandom > f$i; done; for i in $(seq 1 2 20); do rm f$i; done
            head -c 30000 /dev/urandom > 'pieces of a longer name than one entry has'; echo hi > d/e/hello; truncate -s 9000 tail )
          umount mnt; losetup -d $loop
        done
        """);

    public static IReadOnlyList<byte[]> Iso9660() => Made("""
        mkdir -p tree/a/b/c/e/f/g/h/i/j tree/many; for i in $(seq 1 20); do echo $i > "tree/many/a name of number $i"; done
        head -c 9000 /dev/urandom > tree/large; seq 1 9999 > tree/text; ln -s ../large tree/a/link; echo deep > tree/a/b/c/e/f/g/h/i/j/deep
        echo x > "tree/$(printf 'n%.0s' $(seq 1 240))"; head -c 2048 /dev/urandom > tree/boot; mkzftree tree packed
        genisoimage -quiet -R -J -o disk-rock tree; genisoimage -quiet -R -z -o disk-packed packed; genisoimage -quiet -o disk-plain tree 2>/dev/null
        genisoimage -quiet -R -b boot -no-emul-boot -iso-level 4 -o disk-boot tree
        """);

    public static IReadOnlyList<byte[]> Udf() =>
    [
        .. ((string[])["plain", "metadata", "virtual", "sparable"]).Select(map => new UdfWriter(map).Image),
        .. Made("mkdir -p tree/a; head -c 9000 /dev/urandom > tree/large; echo hi > tree/a/hi; genisoimage -quiet -udf -o disk-bridge tree"),
    ];

    public static IReadOnlyList<byte[]> Ext() => Made("""
        mkdir -p tree/a/b tree/many
        head -c 40000 /dev/urandom > tree/large; printf tiny > tree/tiny; head -c 130 /dev/urandom > tree/a/inline
        truncate -s 9000000 tree/sparse; printf mid | dd of=tree/sparse bs=1 seek=3000000 conv=notrunc status=none
        for i in $(seq 1 60); do : > "tree/many/a name of some length $i"; done
        ln tree/tiny tree/a/hard; ln -s short tree/link; ln -s "$(printf 'y%.0s' $(seq 1 90))" tree/linklong; mkfifo tree/fifo
        mke2fs -q -F -t ext2 -b 1024 -N 96 -d tree disk-2 400k
        mke2fs -q -F -t ext4 -b 1024 -N 96 -J size=1 -O inline_data,^resize_inode -d tree disk-4 2100k 2>/dev/null
        mke2fs -q -F -t ext4 -b 2048 -N 96 -O bigalloc,^has_journal,64bit,meta_bg,^resize_inode -C 8192 -d tree disk-big 1M 2>/dev/null
        mkdir mnt; cp disk-4 dirty; mount -o loop,data=journal dirty mnt; trap 'umount mnt' EXIT
        for i in $(seq 1 8); do head -c 1500 /dev/urandom > mnt/new$i; done
        rm -r mnt/many; printf x > mnt/a/b/x; sync mnt/a/b/x; cp dirty disk-dirty
        """);

    /// <summary>Packed: the smallest XFS takes 32 MiB of zeros.</summary>
    public static IReadOnlyList<byte[]> Xfs() => [.. Made("unpacked() {\n" + XfsImages.SmallTree + "\n}" + """

        mkdir mnt; trap 'cd /; umount mnt 2>/dev/null || true' EXIT
        for n in 4096 1024; do
          truncate -s 32M disk-$n; mkfs.xfs --unsupported -q -f -b size=1024 -n size=$n -d agcount=2 disk-$n; mount -o loop disk-$n mnt; ( cd mnt; unpacked ); umount mnt
        done
        cp disk-1024 disk-dirty; mount -o loop,nouuid disk-dirty mnt
        rm -r mnt/a mnt/pieces; printf new > mnt/new; mkdir mnt/folder; sync -f mnt; mv mnt/new mnt/folder/x; xfs_io -x -c 'shutdown -f' mnt; umount mnt
        mkdir tree; ( cd tree; printf x > x )
        printf '/none\n0 0\nd--755 0 0\nfile ---644 0 0 tree/x\nfolder d--755 0 0\nlink l--777 0 0 target\n$\n$\n' > proto
        truncate -s 32M disk-4; mkfs.xfs --unsupported -q -f -m crc=0 -b size=1024 -d agcount=2 -p proto disk-4
        """).Select(PackedXfs.Pack)];
    public static IReadOnlyList<byte[]> Btrfs()
    {
        List<byte[]> seeds = [];
        foreach (string options in (string[])["compress-force=zlib", "compress-force=lzo", "compress-force=zstd,commit=300"])
        {
            using var scratch = new Scratch();
            string image = BtrfsImages.Make(scratch, 1, "-n 4096 -M -m single -d single", BtrfsImages.Small + "\nsync; echo new > new; python3 -c 'import os; os.fsync(os.open(\"new\", os.O_RDONLY))'; cp --sparse=always ../dev0 ../copy", options, "16M")[0];
            seeds.Add(BtrfsImages.Pack(options.Contains("zstd", StringComparison.Ordinal) ? scratch["copy"] : image));
        }

        return seeds;
    }
    public static IReadOnlyList<byte[]> SquashFs() => Made(PackedTree + """

        for c in gzip lzma lzo lz4 xz zstd; do mksquashfs tree disk-$c -comp $c -no-progress -quiet -nopad -b 8192 > /dev/null; done
        mksquashfs tree disk-plain -noI -noId -no-progress -quiet -nopad -b 4096 > /dev/null
        mksquashfs tree disk-bcj -comp xz -Xbcj x86,arm,powerpc -noI -no-progress -quiet -nopad -b 8192 > /dev/null
        """);

    public static IReadOnlyList<byte[]> Erofs() => Made(PackedTree + """

        mkfs.erofs --quiet disk-flat tree > /dev/null 2>&1; mkfs.erofs --quiet --chunksize=4096 disk-chunks tree > /dev/null 2>&1
        mkfs.erofs --quiet -zlz4hc -C 16384 -E ztailpacking disk-big tree > /dev/null 2>&1; mkfs.erofs --quiet -zlz4 -E legacy-compress disk-full tree > /dev/null 2>&1
        """);

    public static IReadOnlyList<byte[]> Yara() =>
    [
        .. ((string[])[
            """
            import "pe"
            private rule a : tag { meta: x = "y" n = -1 strings: $a = "te\x41\n\"xt" wide ascii nocase fullword $b = { 4D 5A ?? [2-4] ( 50 | 45 ~01 ) } $c = /re(g|ex)+[^a-z]{2,3}?\x41$/is xor(1-255) condition: any of them and filesize < 10MB }
            /* comment */ global rule b { strings: $ = "x" base64 condition: for any i in (1..#a) : ( @a[i] + 1 == 0x10 ) or uint16be(0) == 0x4D5A and pe.number_of_sections > 2 }
            """,
            "rule c { strings: $s1 = \"abcdef\" $s2 = {01 02 [4] 03} condition: 2 of ($s*) or (not $s1 at 0 and $s2 in (0..filesize)) or a or any of (b*) } include \"x\" // end",
            "rule d { condition: for all of them : ( # > 3 ) or (uint32(uint32(0x3c)) == 0x4550 and filename matches /a\\/b[\\]x]*/i) } rule d { condition: true }",
        ]).Select(Encoding.UTF8.GetBytes),
    ];

    /// <summary>Recomputes both GPT headers' checksums where they lie in small disks of 512-byte sectors.</summary>
    public static void RepairGpt(byte[] image)
    {
        foreach (int at in (int[])[512, image.Length - 512])
        {
            Span<byte> header = image.AsSpan(at, 512);
            if (!header.StartsWith("EFI PART"u8))
            {
                continue;
            }

            long entries = BinaryPrimitives.ReadInt64LittleEndian(header[72..]) * 512;
            int bytes = checked((int)BinaryPrimitives.ReadUInt32LittleEndian(header[80..]) * (int)BinaryPrimitives.ReadUInt32LittleEndian(header[84..]));
            BinaryPrimitives.WriteUInt32LittleEndian(header[88..], Crc32.Of(image.AsSpan((int)Math.Min(entries, int.MaxValue), bytes)));
            header.Slice(16, 4).Clear();
            BinaryPrimitives.WriteUInt32LittleEndian(header[16..], Crc32.Of(header[..(int)BinaryPrimitives.ReadUInt32LittleEndian(header[12..])]));
        }
    }

    /// <summary>Every file named <c>disk-...</c> that a script leaves.</summary>
    private static List<byte[]> Made(string script)
    {
        using var scratch = new Scratch();
        Tool.Shell("PATH=$PATH:/usr/sbin:/sbin\n" + script, scratch.Folder);
        return [.. Directory.EnumerateFiles(scratch.Folder, "disk-*").Order(StringComparer.Ordinal).Select(File.ReadAllBytes)];
    }
}
