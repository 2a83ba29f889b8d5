using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

public sealed class LibvirtSaveTests
{
    private const int Page = QemuStreamWriter.Page;
    private static readonly string[] Programs = ["cat", "gzip", "bzip2", "xz", "lzop", "zstd"];

    [Theory]
    [InlineData(0, "raw")]
    [InlineData(1, "gzip")]
    [InlineData(2, "bzip2")]
    [InlineData(3, "xz")]
    [InlineData(4, "lzop")]
    [InlineData(5, "zstd")]
    public void Memory_is_read_whatever_packed_it(int program, string name)
    {
        var gaps = new GapList();
        var budget = new ScanBudget(64 << 20);
        using (GuestMemoryImage image = Open(Save(program), new ReadContext(budget, gaps)))
        {
            Assert.Equal("libvirt-save/" + name, image.Format);
            byte[] ram = new byte[16 * Page];
            image.Physical.Read(0, ram);
            Assert.Equal(QemuStreamWriter.SampleRam(), ram);
            Assert.Empty(gaps.ToList());
        }

        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void An_image_that_is_cut_off_is_never_complete(int program)
    {
        byte[] whole = Save(program);
        int start = 92 + Xml.Length;
        foreach (int length in (int[])[start, start + 10, start + ((whole.Length - start) / 2), whole.Length - 60])
        {
            var gaps = new GapList();
            var budget = new ScanBudget(64 << 20);
            try
            {
                using GuestMemoryImage image = Open(whole[..length], new ReadContext(budget, gaps));

                // What is missing may be the end of a packed file alone, behind all of the memory.
                Assert.True(gaps.Count > 0 || program != 0, $"{length} of {whole.Length}");
            }
            catch (DiskFormatException e)
            {
                Assert.Contains(e.Fault, (Fault[])[Fault.Truncated, Fault.Corrupt]);
            }

            Assert.Equal(0, budget.InUse);
        }
    }

    public static TheoryData<string, int, uint, Fault> Hostile() => new()
    {
        { "another version", 16, 3, Fault.Unsupported },
        { "an XML of gigabytes", 20, 0xFFFF_FFFF, Fault.Limit },
        { "an XML beyond the end", 20, 1 << 20, Fault.Truncated },
        { "an unknown program", 28, 6, Fault.Unsupported },
        { "another program", 28, 1, Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_faulty_header_is_a_fault(string what, int at, uint value, Fault fault)
    {
        Assert.NotEmpty(what);
        byte[] bytes = Save(0);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), value);
        var budget = new ScanBudget(64 << 20);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Open(bytes, new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void An_image_whose_saving_was_not_finished_is_a_gap()
    {
        byte[] bytes = Save(0);
        "LibvirtQemudPart"u8.CopyTo(bytes);
        var gaps = new GapList();
        using GuestMemoryImage image = Open(bytes, new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Equal(Fault.Truncated, Assert.Single(gaps.ToList()).Fault);
    }

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void A_mutated_image_gives_data_or_DiskFormatException(int program) =>
        Mutations.Check(Save(program), (bytes, context) => MemoryReading.ReadEverything([new MemoryFile("vm.save", new MemorySource(bytes))], context), [], budgetBytes: 128 << 20);

    /// <summary>A save image as libvirt lays it out, packed by the real program.</summary>
    internal static byte[] Save(int program, byte[]? stream = null)
    {
        stream ??= QemuStreamWriter.Sample();
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["stream"], stream);
        byte[] packed = program == 0 ? stream : Tool.RunRaw("bash", scratch.Folder, "-c", $"{Tool.Find(Programs[program])} -c < stream");
        byte[] bytes = new byte[92 + Xml.Length + packed.Length];
        "LibvirtQemudSave"u8.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(16), 2);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(20), (uint)Xml.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(28), (uint)program);
        Xml.CopyTo(bytes, 92);
        packed.CopyTo(bytes, 92 + Xml.Length);
        return bytes;
    }

    private static readonly byte[] Xml = Encoding.ASCII.GetBytes("<domain type='qemu'><name>web01</name><uuid>11112222-3333-4444-5555-666677778888</uuid></domain>".PadRight(200, '\0'));

    private static GuestMemoryImage Open(byte[] bytes, ReadContext context) => MemoryFormats.Open([new MemoryFile("vm.save", new MemorySource(bytes))], context);
}
