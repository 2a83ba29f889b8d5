using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>An opened UDF volume.</summary>
internal sealed class UdfFileSystem : IFileSystem
{
    /// <summary>What lies before the volume recognition sequence.</summary>
    private const int SystemAreaBytes = 32 << 10;

    private readonly IBlockSource _source;
    private readonly UdfVolume _volume;
    private readonly UdfLongAd _root;
    private readonly UdfLongAd _systemStreams;
    private readonly IBlockSource[] _sources;

    public UdfFileSystem(IBlockSource source, ReadContext context)
    {
        _source = source;
        _sources = [source];
        (_volume, UdfDescriptors descriptors) = UdfOpening.Open(source, context);
        try
        {
            LeView logical = descriptors.Logical;
            var fileSet = new UdfLongAd(logical.Field(248, UdfLongAd.Size));
            byte[] block = new byte[_volume.BlockBytes];
            long offset = _volume.ReadBlock(fileSet.Block, fileSet.Partition, block);
            var v = new LeView(block, "UDF File Set Descriptor", offset);
            UdfTag.Require(v, fileSet.Block, UdfTag.FileSet);
            _root = new UdfLongAd(v.Field(400, UdfLongAd.Size));
            _systemStreams = new UdfLongAd(v.Field(464, UdfLongAd.Size));
            v.Require(_root.IsThere, 400, "Root Directory ICB");
            Facts = MakeFacts(descriptors, logical, context);
        }
        catch
        {
            _volume.Dispose();
            throw;
        }
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        var root = new GuestFolder(null, []);
        long length = Math.Min(SystemAreaBytes, _source.Length);
        yield return new UdfFile
        {
            Kind = GuestFileKind.System,
            Id = 0,
            SizeBytes = length,
            FirstByte = 0,
            Links = [new GuestLink(root, "$SystemArea"u8.ToArray())],
            Extents = [new FilePiece(0, length, 0)],
        };
        foreach (UdfFile file in new UdfWalk(_volume).Walk(_root, _systemStreams))
        {
            yield return file;
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not UdfFile ours)
        {
            throw new ArgumentException("not a file of this volume", nameof(file));
        }

        return ours.Fault is not null ? throw ours.Fault
            : ours.SizeBytes == 0 ? MemorySource.Empty
            : ours.Target is not null ? new MemorySource(ours.Target)
            : new MappedSource(new FilePieceMap(ours.Extents, ours.SizeBytes, _source.Length, "UDF file"), _sources);
    }

    public void Dispose() => _volume.Dispose();

    private FileSystemFacts MakeFacts(UdfDescriptors descriptors, LeView logical, ReadContext context)
    {
        // OSTA domain suffix: the revision in binary-coded decimal.
        int revision = logical.U16(240);
        List<string> notes = [string.Create(CultureInfo.InvariantCulture, $"UDF {revision >> 8:X}.{revision & 0xFF:X2}")];
        if (WasInUse(logical))
        {
            notes.Add("not unmounted: the last changes may be missing");
        }

        long end = 0;
        bool isVirtual = false;
        for (int i = 0; i < _volume.Partitions.Count; i++)
        {
            isVirtual |= _volume.Partitions[i] is UdfVirtualPartition;
            if (_volume.Partitions[i] is UdfPlainPartition plain)
            {
                try
                {
                    (long block, long run) = plain.Map(0);
                    end = Math.Max(end, (block + run) * _volume.BlockBytes);
                }
                catch (DiskFormatException)
                {
                    // A partition without blocks adds nothing.
                }
            }
        }

        // A disc written once has a partition as long as it may get.
        if (end > _source.Length && !isVirtual)
        {
            context.Gaps.Add(new CoverageGap(
                Fault.Truncated, "", UdfPartition.Structure, -1, end - _source.Length, $"the file system has {end} bytes, the volume {_source.Length}"));
        }

        string id = descriptors.HasPrimary ? Id(UdfNames.Text(descriptors.Primary.Field(72, 128))) : "";
        return new FileSystemFacts("udf", UdfNames.Text(logical.Field(84, 128)), id, _volume.BlockBytes, end == 0 ? _source.Length : end, notes);
    }

    // As blkid and the kernel's tools: the first sixteen hexadecimal digits that the Volume Set Identifier begins with, or its bytes in hexadecimal.
    private static string Id(string set)
    {
        const int Digits = 16;
        if (set.Length >= Digits && set[..Digits].All(char.IsAsciiHexDigit))
        {
            return set[..Digits].ToLowerInvariant();
        }

        byte[] bytes = Encoding.UTF8.GetBytes(set);
        bool hasTime = bytes.Length >= Digits / 2 && set.Length >= Digits / 2 && set[..(Digits / 2)].All(char.IsAsciiHexDigit);
        return bytes.Length < Digits / 2 ? ""
            : hasTime ? set[..(Digits / 2)].ToLowerInvariant() + Convert.ToHexStringLower(bytes.AsSpan(8, Math.Min(4, bytes.Length - 8)))
            : Convert.ToHexStringLower(bytes.AsSpan(0, Digits / 2));
    }

    // Logical Volume Integrity Descriptor (3/10.10): the last of its sequence says whether the volume was closed.
    private bool WasInUse(LeView logical)
    {
        byte[] block = new byte[_volume.BlockBytes];
        uint blocks = Math.Min(logical.U32(432) / (uint)_volume.BlockBytes, 1024);
        uint first = logical.U32(436);
        bool isOpen = false;
        for (uint i = 0; i < blocks && first <= uint.MaxValue - i; i++)
        {
            var v = new LeView(block, "UDF Logical Volume Integrity Descriptor", (first + (long)i) * _volume.BlockBytes);
            if (!_source.TryRead(v.Offset, block) || UdfTag.Identify(v, first + i) != UdfTag.LogicalVolumeIntegrity)
            {
                break;
            }

            isOpen = v.U32(28) == 0;
        }

        return isOpen;
    }
}
