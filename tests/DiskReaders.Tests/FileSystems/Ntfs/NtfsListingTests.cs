using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>Volumes that mkntfs and ntfs-3g wrote, held against ntfs-3g's own read-only mount.</summary>
public sealed class NtfsListingTests : IDisposable
{
    private const string Mixed = """
        mkdir -p a/b/c 'System Volume Information' '$Recycle.Bin/S-1-5-21'
        head -c 700 /dev/urandom > a/resident; head -c 300 /dev/urandom > '$Recycle.Bin/S-1-5-21/$RABCDE.exe'
        head -c 300000 /dev/urandom > a/b/data; : > a/empty; seq 1 20000 > a/b/c/seq
        ln a/b/data a/hard1; ln a/b/data 'hard link with a long name.bin'
        head -c 1000 /dev/urandom > a/b/data:stream; head -c 100000 /dev/urandom > a/empty:big; echo x > a:folderstream
        truncate -s 3M sparse; printf tail >> sparse; printf head | dd of=sparse conv=notrunc status=none
        truncate -s 400000 allsparse
        for i in $(seq 1 200); do printf "$i" > a/b/c/name-$i; done
        """;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("-s 512 -c 512", "16M")]
    [InlineData("-s 512 -c 4096", "16M")]
    [InlineData("-s 512 -c 65536", "64M")]
    [InlineData("-s 1024 -c 1024", "16M")]
    [InlineData("-s 2048 -c 8192", "16M")]
    [InlineData("-s 4096 -c 4096", "16M")]
    [InlineData("-s 4096 -c 131072", "128M")]
    [InlineData("-s 512 -c 2097152", "600M")]
    public void Every_sector_and_cluster_size_lists_as_mounted(string format, string size) => Compare(NtfsImage.Make(_scratch.Folder, size, format, Mixed));

    [Fact]
    [Trait("Category", "Slow")]
    public void A_fragmented_volume_lists_as_mounted()
    {
        // The volume is filled with small files; every second gives its clusters back, and the table and large files grow into the holes.
        string image = NtfsImage.Make(_scratch.Folder, "16M", "-c 512 -z 1", """
            mkdir fill; for i in $(seq 1 12000); do printf '%1500s' $i > fill/f$i || break; done 2>/dev/null; rm fill/f1 fill/f2 fill/f3
            n=$(ls fill | wc -l); for i in $(seq 4 2 $n); do : > fill/f$i; done
            for i in $(seq 1 900); do printf "file $i %500s" $i > n$i; done
            head -c 700000 /dev/urandom > big; head -c 300000 /dev/urandom > 'n1:stream'
            for i in $(seq 1 600); do printf "file $i %600s" $i > m$i; done; head -c 200000 /dev/urandom >> big; ln big big-hard-link
            """);
        using var source = new FileSource(image);
        Assert.Contains(NtfsImage.Files(source, out _), f => f is NtfsFile { Layout: StreamLayout { Segments.Length: > 1 } });
        Assert.Contains("attribute_list", Tool.Shell($"ntfsinfo -fv -i 0 {image} | tr A-Z a-z"));
        Compare(image);
    }

    [Fact]
    public void Sleuth_Kit_reads_the_same_files_and_streams()
    {
        string image = NtfsImage.Make(_scratch.Folder, "16M", "-c 1024", Mixed);
        Tool.Find("icat");
        string[] theirs = Tool.Shell($$"""
            fls -r -p -F {{image}} | grep -v -e ':.\$' -e '\*' -e name- | while IFS=$'\t' read -r i n; do i=${i#* }; printf '%s\t%s\n' "$n" "$(icat {{image}} "${i%:}" | sha256sum | cut -c1-64)"; done
            """).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var ours = NtfsImage.List(image).Lines.Select(l => l.Split('\t')).ToDictionary(l => l[0], l => l[2]);
        Assert.True(theirs.Length >= 12, $"{theirs.Length} files");
        Assert.All(theirs, line => Assert.Equal(line.Split('\t')[1], ours[line.Split('\t')[0]]));
    }

    [Fact]
    public void Compressed_files_list_as_mounted()
    {
        string image = NtfsImage.Make(
            _scratch.Folder,
            "64M",
            "-c 4096",
            """
            mkdir c; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be c
            seq 1 300000 > c/seq; head -c 300000 /dev/urandom > c/random; head -c 200000 /dev/zero > c/zeros
            { head -c 100000 /dev/urandom; head -c 300000 /dev/zero; seq 1 9999; } > c/mixed
            cp /bin/bash c/bash; printf short > c/short; truncate -s 1M c/hole; echo end >> c/hole
            seq 1 5000 > c/rewritten; head -c 3000 /dev/urandom | dd of=c/rewritten bs=1 seek=7000 conv=notrunc status=none
            for n in 4095 4096 4097 65535 65536 65537 131072; do seq $n 99999999 | head -c $n > c/n$n || true; done
            """,
            "streams_interface=windows,compression");
        using var source = new FileSource(image);
        Assert.Contains(NtfsImage.Files(source, out _), f => f is NtfsFile { Layout: StreamLayout { CompressionUnitShift: 4 } });
        Compare(image);
    }

    [Fact]
    public void Names_of_every_kind_list_as_mounted() => Compare(NtfsImage.Make(_scratch.Folder, "16M", "", """
        echo 1 > 'ä ö ü'; echo 2 > '日本語.txt'; echo 3 > $'\xf0\x9f\x98\x80'; echo 4 > $'\xed\xa0\x80lone'; echo 5 > $'line\nbreak\ttab'
        echo 6 > 'back\slash'; echo 7 > $'\x01\x1b[31m'; echo 8 > 'trailing. '; echo 9 > 'CON'; echo 10 > '*?"<>|'; echo 11 > $'bidi\xe2\x80\xae'
        mkdir $'dir\xed\xbf\xbf'; echo 12 > $'dir\xed\xbf\xbf/x'
        n=$(printf 'n%.0s' $(seq 1 255)); echo 13 > "$n"; mkdir "d${n:1}"; echo 14 > "d${n:1}/$n"
        echo 15 > s; echo 16 > 's:ünï'; echo 17 > $'s:\xe6\x97\xa5'
        """));

    [Fact]
    public void Dos_names_stand_back_behind_their_long_names()
    {
        string image = NtfsImage.Make(_scratch.Folder, "16M", "", """
            echo 1 > 'long name of a file.text'; setfattr -h -v 'LONGNA~1.TEX' -n system.ntfs_dos_name 'long name of a file.text'
            mkdir 'long folder name'; setfattr -h -v 'LONGFO~1' -n system.ntfs_dos_name 'long folder name'; echo 2 > 'long folder name/x'
            """);
        Compare(image);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Fifty_thousand_files_in_a_folder_list_as_mounted()
    {
        string image = NtfsImage.Make(_scratch.Folder, "200M", "", """
            mkdir many; cd many; seq 1 50000 | xargs -n 1000 sh -c 'for i; do printf $i > f$i; done' sh
            """);
        SortedSet<string> lines = Compare(image, streams: false);
        Assert.Equal(50_000, lines.Count);
    }

    [Fact]
    public void Every_slicing_of_reads_equals_one_read()
    {
        string image = NtfsImage.Make(
            _scratch.Folder,
            "32M",
            "-c 1024",
            """
            mkdir c; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be c
            { seq 1 20000; head -c 50000 /dev/zero; head -c 50000 /dev/urandom; } > c/packed
            { seq 1 9000; head -c 9000 /dev/urandom; } > plain; truncate -s 100000 plain; printf z >> plain; printf small > small
            """,
            "streams_interface=windows,compression");
        using var source = new FileSource(image);
        var budget = new ScanBudget(16 << 20);
        using (IFileSystem fileSystem = new NtfsFormat().Open(source, new ReadContext(budget, new GapList())))
        {
            foreach (GuestFile file in fileSystem.Walk())
            {
                using IBlockSource content = fileSystem.OpenContent(file);
                byte[] whole = content.ReadAll();
                foreach (int step in new[] { 1 << 16, 4096, 1021, 65537 })
                {
                    byte[] pieces = new byte[whole.Length];
                    for (int at = 0; at < whole.Length; at += step)
                    {
                        content.Read(at, pieces.AsSpan(at, Math.Min(step, whole.Length - at)));
                    }

                    Assert.Equal(whole, pieces);
                }

                long located = 0;
                while (located < content.Length)
                {
                    StoredExtent extent = content.Locate(located, content.Length - located);
                    Assert.InRange(extent.Length, 1, content.Length - located);
                    located += extent.Length;
                }
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    private SortedSet<string> Compare(string image, bool streams = true)
    {
        SortedSet<string> mounted = NtfsImage.ListMounted(_scratch.Folder, image, streams);
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(image);
        Assert.Equal("", string.Join('\n', mounted.Except(lines).Take(5).Select(l => "mounted: " + l).Concat(lines.Except(mounted).Take(5).Select(l => "read: " + l))));
        Assert.Empty(gaps);
        return lines;
    }
}
