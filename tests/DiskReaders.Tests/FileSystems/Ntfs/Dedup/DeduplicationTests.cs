using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Dedup;

/// <summary>Deduplicated files whose reparse points are none that is known: never the stub for the file.</summary>
public sealed class DeduplicationTests
{
    /// <summary>Reparse points of Windows Server 2012 lie in the file's record, those of later ones are too large for it.</summary>
    private static readonly Lazy<byte[]> Volume = new(() =>
    {
        using var scratch = new Scratch();
        string large = "0x13000080a00f0000" + Convert.ToHexString(Encoding.ASCII.GetBytes(new string('r', 4000)));
        return File.ReadAllBytes(NtfsImage.Make(scratch.Folder, "16M", "", $"""
            truncate -s 9000 resident; setfattr -h -n system.ntfs_reparse_data -v 0x13000080080000000102030405060708 resident
            truncate -s 700000 large; printf stream > large:ads; setfattr -h -n system.ntfs_reparse_data -v {large} large
            truncate -s 90000 rewritten; printf 'written since' | dd of=rewritten bs=1 seek=70000 conv=notrunc status=none
            setfattr -h -n system.ntfs_reparse_data -v 0x13000080080000000102030405060708 rewritten
            : > empty; setfattr -h -n system.ntfs_reparse_data -v 0x13000080080000000102030405060708 empty
            printf ordinary > ordinary
            """));
    });

    [Theory]
    [InlineData("resident", 9000)]
    [InlineData("large", 700_000)]
    [InlineData("rewritten", 90_000)]
    [InlineData("empty", 0)]
    public void A_deduplicated_file_is_listed_with_its_size_and_a_named_fault(string name, long size)
    {
        using var source = new MemorySource(Volume.Value);
        GuestFile file = Of(NtfsImage.Files(source, out IReadOnlyList<CoverageGap> gaps), name);
        Assert.Empty(gaps);
        Assert.Equal(GuestFileKind.Regular, file.Kind);
        Assert.Equal(size, file.SizeBytes);
        Assert.Equal((Fault.Corrupt, "deduplication"), (file.Fault!.Fault, file.Fault.Structure));
    }

    [Fact]
    public void What_such_a_file_does_store_is_scanned_and_its_streams_are_read()
    {
        using var source = new MemorySource(Volume.Value);
        List<GuestFile> files = NtfsImage.Files(source, out _);
        GuestFile stored = Of(files, "rewritten:$DATA");
        Assert.Equal((GuestFileKind.System, null), (stored.Kind, stored.Fault));
        Assert.Null(Of(files, "large:ads").Fault);
        Assert.Null(Of(files, "ordinary").Fault);
        Assert.DoesNotContain(files, f => NtfsImage.PathOf(f.Links[0], f) == "large:$DATA");
    }

    [Theory]
    [InlineData("resident")]
    [InlineData("large")]
    [InlineData("rewritten")]
    public void A_damaged_reparse_point_does_not_turn_the_stub_into_the_file(string name)
    {
        NtfsPatch patch = new NtfsPatch(Volume.Value).Opened();
        int attribute = patch.Find(patch.Number(name), 0xC0);
        if (patch.Image[attribute + 8] == 0)
        {
            // More data than the attribute holds.
            patch.Set16(attribute + patch.U16(attribute + 20) + 4, 0x4000);
        }
        else
        {
            // A run far behind the volume's end.
            int pairs = attribute + patch.U16(attribute + 32);
            patch.Set(pairs, 0x41, 0x01, 0xFF, 0xFF, 0xFF, 0x7F, 0x00);
        }

        using var source = new MemorySource(patch.Sealed());
        GuestFile file = Of(NtfsImage.Files(source, out IReadOnlyList<CoverageGap> gaps), name);
        Assert.NotEmpty(gaps);
        Assert.NotNull(file.Fault);
    }

    private static GuestFile Of(List<GuestFile> files, string path) => files.Single(f => NtfsImage.PathOf(f.Links[0], f) == path);
}
