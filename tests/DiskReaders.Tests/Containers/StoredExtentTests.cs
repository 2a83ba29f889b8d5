using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>
/// What every container says about where its bytes are stored: extents cover all that is not zero, as <c>qemu-img map</c> has it, any slicing
/// of reads equals one read, and what is said to stand in a file as it is does stand there.
/// </summary>
public sealed class StoredExtentTests : IDisposable
{
    private const int DiskBytes = 12 << 20;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("raw", "")]
    [InlineData("qcow2", "")]
    [InlineData("qcow2", "-o compat=0.10,cluster_size=512")]
    [InlineData("qcow2", "-o extended_l2=on,cluster_size=32k")]
    [InlineData("qcow2", "-c")]
    [InlineData("qcow2", "-c -o compression_type=zstd")]
    [InlineData("qcow2", "-o data_file=external.raw,data_file_raw=on")]
    [InlineData("vmdk", "-o subformat=monolithicSparse")]
    [InlineData("vmdk", "-o subformat=monolithicFlat")]
    [InlineData("vmdk", "-o subformat=twoGbMaxExtentSparse")]
    [InlineData("vmdk", "-o subformat=twoGbMaxExtentFlat")]
    [InlineData("vmdk", "-o subformat=streamOptimized")]
    [InlineData("vhdx", "-o subformat=dynamic,block_size=1M")]
    [InlineData("vhdx", "-o subformat=fixed")]
    [InlineData("vpc", "-o subformat=dynamic,force_size=on")]
    [InlineData("vpc", "-o subformat=fixed,force_size=on")]
    [InlineData("vdi", "")]
    [InlineData("parallels", "-o cluster_size=64k")]
    public void Extents_cover_all_that_is_not_zero_and_lead_to_it(string format, string options)
    {
        byte[] model = Model();
        File.WriteAllBytes(_scratch["model.img"], model);
        string extension = format switch { "vpc" => "vhd", "parallels" => "hdd", "raw" => "img", _ => format };
        Tool.Shell($"qemu-img convert -f raw -O {format} {options} model.img disk.{extension}", _scratch.Folder);
        Check($"disk.{extension}", format, model);
    }

    [Theory]
    [InlineData("qcow2", "qcow2")]
    [InlineData("vmdk", "vmdk")]
    [InlineData("qcow2", "raw")]
    [InlineData("qcow2", "vmdk")]
    [InlineData("qcow2", "vhdx")]
    public void Extents_lead_through_a_chain(string format, string below)
    {
        byte[] model = Model();
        File.WriteAllBytes(_scratch["model.img"], model);
        string parent = below == "raw" ? "below.img" : $"below.{below}";
        Tool.Shell(
            $"""
            qemu-img convert -f raw -O {below} model.img {parent}
            qemu-img create -q -f {format} -b {parent} -F {below} top.{format}
            qemu-io -f {format} -c "write -P 7 1000k 200k" -c "write -P 9 5M 64k" -c "write -z 9M 128k" top.{format} > /dev/null
            qemu-img convert -f {format} -O raw top.{format} expected
            """,
            _scratch.Folder);
        Check($"top.{format}", format, File.ReadAllBytes(_scratch["expected"]));
    }

    /// <summary>Kinds of ESXi that qemu-img reads and does not make.</summary>
    [Theory]
    [InlineData("vmfsSparse", "VMFSSPARSE", 1)]
    [InlineData("vmfsSparse", "VMFSSPARSE", 8)]
    [InlineData("seSparse", "SESPARSE", 8)]
    public void Extents_of_written_images_cover_all_that_is_not_zero_and_lead_to_it(string createType, string type, int grainSectors)
    {
        Grain[] grains = VmdkImages.Mixture(grainSectors == 1 ? 9000 : 5000, 17, zeros: createType == "seSparse");
        File.WriteAllBytes(_scratch["extent.vmdk"], createType == "seSparse" ? VmdkImages.SeSparse(grains) : VmdkImages.CowDisk(grains, grainSectors));
        File.WriteAllText(_scratch["disk.vmdk"], VmdkImages.Descriptor(createType, $"RW {grains.Length * grainSectors} {type} \"extent.vmdk\""));
        Check("disk.vmdk", "vmdk", VmdkImages.Expected(grains, grainSectors * VmdkImages.Sector));
    }

    /// <summary>Data of many sizes between holes, with zeros that are written too.</summary>
    private static byte[] Model()
    {
        byte[] model = new byte[DiskBytes];
        var random = new Random(5);
        for (int at = 0; at < DiskBytes;)
        {
            int length = Math.Min(random.Next(1, 600_000), DiskBytes - at);
            if (random.Next(2) == 0)
            {
                random.NextBytes(model.AsSpan(at, length));
            }

            at += length;
        }

        return model;
    }

    private void Check(string name, string format, byte[] model)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using (var chain = new ChainOpener(ChainPlanner.Plan(_scratch[name], new Beside()), context))
        using (VirtualDisk disk = chain.OpenDisk())
        {
            IBlockSource content = disk.Content;
            Assert.Equal(model.LongLength, content.Length);
            bool[] stored = Stored(content, model);
            Tool.Shell($"qemu-img map -f {format} --output=json {name} > map.json", _scratch.Folder);
            CheckMap(stored, File.ReadAllText(_scratch["map.json"]));
            content.CheckSlices(model);
            CheckFiles(content, model);
        }

        Assert.Equal(0, context.Budget.InUse);
        Assert.Equal(0, ((GapList)context.Gaps).Count);
    }

    private static bool[] Stored(IBlockSource content, byte[] model)
    {
        bool[] stored = new bool[model.Length];
        for (long at = 0; at < content.Length;)
        {
            StoredExtent extent = content.Locate(at, content.Length - at);
            Assert.InRange(extent.Length, 1, content.Length - at);
            stored.AsSpan((int)at, (int)extent.Length).Fill(extent.IsStored);
            Assert.True(extent.IsStored || !model.AsSpan((int)at, (int)extent.Length).ContainsAnyExcept((byte)0), $"data at {at} that no extent covers");
            at += extent.Length;
        }

        return stored;
    }

    /// <summary>QEMU counts clusters where the extents here also leave out holes of the file below, so that they may cover less, but never more.</summary>
    private static void CheckMap(bool[] stored, string json)
    {
        using var map = JsonDocument.Parse(json);
        int end = 0;
        foreach (JsonElement range in map.RootElement.EnumerateArray())
        {
            int start = (int)range.GetProperty("start").GetInt64();
            int length = (int)Math.Min(range.GetProperty("length").GetInt64(), stored.Length - start);
            Assert.Equal(end, start);
            end += length;
            bool hasData = range.GetProperty("data").GetBoolean() && !range.GetProperty("zero").GetBoolean();
            Assert.True(hasData || !stored.AsSpan(start, length).Contains(true), $"an extent covers {start}, where QEMU has no data");
        }
    }

    /// <summary>Bytes taken straight from the files, where the source says so, are those that it reads.</summary>
    private static void CheckFiles(IBlockSource content, byte[] model)
    {
        IFileBacked backed = Assert.IsAssignableFrom<IFileBacked>(content);
        var random = new Random(7);
        for (int at = 0; at < model.Length;)
        {
            int most = Math.Min(random.Next(1, 1 << 20), model.Length - at);
            if (backed.InFile(at, most) is not { } range)
            {
                at += Math.Min(most, 512);
                continue;
            }

            Assert.InRange(range.Length, 1, most);
            byte[] bytes = new byte[range.Length];
            Assert.Equal(bytes.Length, RandomAccess.Read(range.File, bytes, range.Offset));
            Assert.True(bytes.AsSpan().SequenceEqual(model.AsSpan(at, bytes.Length)), $"the file has other bytes for {at}");
            at += bytes.Length;
        }
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
