using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Tests.Containers.Parallels;
using Vmsweep.DiskReaders.Tests.Containers.Vdi;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>Chains of 64 layers: each byte comes from the layer that wrote it last, and opening and reading stay bounded.</summary>
public sealed class LongChainTests : IDisposable
{
    private const int Layers = 64;
    private const long BudgetBytes = 96 << 20;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("qcow2", "")]
    [InlineData("qcow2", "-o cluster_size=4k")]
    [InlineData("vmdk", "")]
    [Trait("Category", "Slow")]
    public void Layers_of_QEMU_read_as_QEMU_reads_them(string format, string options)
    {
        Tool.Shell(
            $$"""
            head -c 8M /dev/urandom > base
            qemu-img convert -f raw -O {{format}} base l0.{{format}}
            for i in $(seq 1 {{Layers - 1}}); do
              qemu-img create -q -f {{format}} {{options}} -b l$((i-1)).{{format}} -F {{format}} l$i.{{format}}
              qemu-io -f {{format}} -c "write -P $i $((i * 120))k 64k" -c "write -P $i $((i * 37 % 64 * 128))k 64k" -c "write -P $i 1000k 16k" l$i.{{format}} > /dev/null
            done
            qemu-img convert -f {{format}} -O raw l{{Layers - 1}}.{{format}} expected
            """,
            _scratch.Folder);
        AssertReads($"l{Layers - 1}.{format}", Layers, File.ReadAllBytes(_scratch["expected"]));
    }

    [Fact]
    public void Layers_of_VHD_are_read()
    {
        const int Block = 64 << 10;
        AssertWritten("vhd", Layers, Block, (i, id, parent, block, bytes) =>
            new VhdWriter { BlockBytes = Block, DiskBytes = 16 * Block, Id = id, ParentId = parent, ParentName = $"l{i - 1}.vhd" }.Block(block, bytes).Build());
    }

    [Fact]
    public void Layers_of_VDI_are_read()
    {
        const int Block = 64 << 10;
        AssertWritten("vdi", Layers, Block, (_, id, parent, block, bytes) =>
            new VdiWriter { BlockBytes = Block, DiskBytes = 16 * Block, Id = id, Type = parent is null ? 1 : 4, Parent = parent ?? Guid.Empty }.Block(block, bytes).Build());
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Layers_of_VHDX_are_read()
    {
        // A payload block of VHDX has a mebibyte at least, and a layer four more of structures.
        AssertWritten("vhdx", Layers, VhdxWriter.Megabyte, (i, id, parent, block, bytes) => parent is null
            ? new VhdxWriter { DiskBytes = 16 * VhdxWriter.Megabyte, DataWriteGuid = id }.Block(block, 6, bytes).Build()
            : new VhdxWriter { DiskBytes = 16 * VhdxWriter.Megabyte, DataWriteGuid = id, Parent = [("parent_linkage", parent.Value.ToString("B")), ("relative_path", $"l{i - 1}.vhdx")] }.Block(block, 6, bytes).Build());
    }

    [Fact]
    public void States_of_a_Parallels_disk_are_read()
    {
        const int Cluster = 4096;
        byte[] model = new byte[16 * Cluster];
        Guid[] ids = [.. Enumerable.Range(1, Layers).Select(i => new Guid(i, 1, 2, [3, 4, 5, 6, 7, 8, 9, 10]))];
        for (int i = 0; i < Layers; i++)
        {
            byte[] bytes = ParallelsWriter.Noise(i, Cluster);
            bytes.CopyTo(model, i * 7 % 16 * Cluster);
            File.WriteAllBytes(_scratch[$"l{i}.hds"], new ParallelsWriter { Sectors = 16 * 8 }.Cluster(i * 7 % 16, bytes).Build());
        }

        File.WriteAllText(_scratch["DiskDescriptor.xml"], ParallelsWriter.Descriptor(
            16 * 8, [(0, 16 * 8, [.. ids.Select((id, i) => (id, "Compressed", $"l{i}.hds"))])], [.. ids.Select((id, i) => (id, i == 0 ? Guid.Empty : ids[i - 1]))], ids[^1]));
        AssertReads("DiskDescriptor.xml", Layers, model);
    }

    private void AssertWritten(string extension, int layers, int blockBytes, Func<int, Guid, Guid?, int, byte[], byte[]> write)
    {
        byte[] model = new byte[16 * blockBytes];
        Guid? parent = null;
        for (int i = 0; i < layers; i++)
        {
            var id = new Guid(i + 1, 1, 2, [3, 4, 5, 6, 7, 8, 9, 10]);
            int block = i * 7 % 16;
            byte[] bytes = VhdWriter.Noise(i, blockBytes);
            bytes.CopyTo(model, block * blockBytes);
            string name = extension == "vdi" ? $"{{{id:D}}}.vdi" : $"l{i}.{extension}";
            File.WriteAllBytes(_scratch[name], write(i, id, parent, block, bytes));
            parent = id;
        }

        AssertReads(extension == "vdi" ? $"{{{parent:D}}}.vdi" : $"l{layers - 1}.{extension}", layers, model);
    }

    private void AssertReads(string name, int layers, byte[] model)
    {
        var context = new ReadContext(new ScanBudget(BudgetBytes), new GapList());
        using (var chain = new ChainOpener(ChainPlanner.Plan(_scratch[name], new Beside()), context))
        using (VirtualDisk disk = chain.OpenDisk())
        {
            Assert.Equal(layers, disk.Chain.Count);
            Assert.Equal(model.LongLength, disk.Content.Length);
            Assert.True(disk.Content.ReadAll().AsSpan().SequenceEqual(model));
            var random = new Random(1);
            for (int i = 0; i < 300; i++)
            {
                int at = random.Next(model.Length);
                byte[] part = new byte[Math.Min(random.Next(1, 200_000), model.Length - at)];
                disk.Content.Read(at, part);
                Assert.True(part.AsSpan().SequenceEqual(model.AsSpan(at, part.Length)), $"other bytes at {at}");
            }
        }

        Assert.Equal(0, context.Budget.InUse);
        Assert.Equal(0, ((GapList)context.Gaps).Count);
    }

    private sealed class Beside : IReferencePolicy
    {
        public ReferenceAnswer Resolve(string fromPath, ImageReference reference)
        {
            string path = Path.Combine(Path.GetDirectoryName(fromPath)!, reference.Candidates[0]);
            return File.Exists(path) ? new ReferenceAnswer(path) : new ReferenceAnswer(null, Fault.MissingParent, "it is not there");
        }
    }
}
