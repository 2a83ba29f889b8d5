using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Xva;

/// <summary>
/// An exported VM of XenServer or XCP-ng: a tar archive whose first member is <c>ova.xml</c>, followed by the disks in chunks of 1 MiB,
/// <c>Ref:4/00000000</c> and on, chunks of zeros left out, each followed by its digest (<c>.checksum</c>, SHA-1, or <c>.xxhash</c>, XXH64).
/// Spec: xapi, "VM import/export"; Citrix Hypervisor, "XVA format". One walk over the headers finds all chunks.
/// The digests are not verified: a chunk is read in parts and in any order, and to verify it each part would need all of it. They guard the
/// way over a network, and whoever makes a hostile export makes its digests too.
/// </summary>
public sealed class XvaFormat : IBundleFormat
{
    internal const int ChunkBytes = 1 << 20;

    private const string Structure = "XVA";
    private const string DescriptorName = "ova.xml";
    private const int MostStrays = 16;

    public string Name => "xva";

    public FormatSupport Support { get; } = new(
        "Xen XVA",
        "every disk of an export, read where it lies; left-out chunks are zeros",
        "packed exports, missing chunks; chunk digests are not verified");

    public bool Probe(ImageFile file)
    {
        Span<byte> name = stackalloc byte[DescriptorName.Length + 1];
        return file.Bytes.TryRead(0, name) && name.SequenceEqual("ova.xml\0"u8) && TarReader.Probe(file.Bytes);
    }

    public IReadOnlyList<ImageReference> References(ImageFile file) => [];

    public BundleHead Head(ImageFile file)
    {
        XvaDescriptor descriptor = Descriptor(file, new TarReader(file.Bytes));
        return new BundleHead(descriptor.VmName, "", [.. descriptor.Disks.Select(d => d.Reference)]);
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context) =>
        Head(file).Disks is [string only]
            ? OpenDisk(file, only, chain, context)
            : throw new DiskFormatException(Fault.Unsupported, Structure, 0, "it does not hold one disk, and none was chosen");

    public VirtualDisk OpenDisk(ImageFile file, string disk, IChainOpener chain, ReadContext context)
    {
        var reader = new TarReader(file.Bytes, context.Cancellation);
        List<XvaDisk> disks = Descriptor(file, reader).Disks;
        XvaDisk wanted = disks.Find(d => d.Reference == disk)
            ?? throw new DiskFormatException(Fault.Corrupt, Structure, 0, $"there is no disk \"{disk}\"");
        var chunks = new ChunkTable(context);
        try
        {
            long known = Collect(reader, wanted, disks, chunks, context);
            if (reader.Ended is { } ended)
            {
                context.Gaps.Add(new CoverageGap(ended, "", Math.Max(0, wanted.SizeBytes - known)));
            }

            var missing = new MissingSource(wanted.SizeBytes, () => new DiskFormatException(Fault.Truncated, Structure, -1, "the archive ends before this part of the disk"));
            var map = new XvaMap(chunks, wanted.SizeBytes, known);
            return new VirtualDisk
            {
                Format = Name,
                Content = new MappedSource(map, [file.Bytes, missing], owned: map),
                Chain = [new ChainLink(file.Name, Name)],
            };
        }
        catch
        {
            chunks.Dispose();
            throw;
        }
    }

    /// <summary>Notes where the chunks of a disk lie, and answers up to where the archive tells its content.</summary>
    private static long Collect(TarReader reader, XvaDisk disk, List<XvaDisk> disks, ChunkTable chunks, ReadContext context)
    {
        long last = (disk.SizeBytes - 1) / ChunkBytes;
        string folder = disk.Reference + "/";
        long next = 0;
        bool isOver = false;
        HashSet<string> strays = new(StringComparer.Ordinal);
        while (reader.Next() is { } member)
        {
            if (!member.Name.StartsWith(folder, StringComparison.Ordinal))
            {
                isOver |= next > 0 && member.Kind == TarMemberKind.Regular;
                if (disk == disks[0])
                {
                    Stray(member, disks, strays, context);
                }

                continue;
            }

            ReadOnlySpan<char> name = member.Name.AsSpan(folder.Length);
            if (member.Kind == TarMemberKind.Other || name.EndsWith(".checksum", StringComparison.Ordinal) || name.EndsWith(".xxhash", StringComparison.Ordinal))
            {
                continue;
            }

            if (!long.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out long number) || number > last || member.Kind != TarMemberKind.Regular)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, member.OffsetBytes, $"\"{member.Name}\" is no chunk of a disk of {disk.SizeBytes} bytes");
            }

            if (number < next)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, member.OffsetBytes, $"chunk \"{member.Name}\" comes a second time or too late");
            }

            // The last chunk may be cut to the disk's end, or filled up.
            if (member.SizeBytes != ChunkBytes && (number != last || member.SizeBytes != disk.SizeBytes - (last * ChunkBytes)))
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, member.OffsetBytes, $"chunk \"{member.Name}\" has {member.SizeBytes} bytes");
            }

            if (number > uint.MaxValue)
            {
                throw new DiskFormatException(Fault.Limit, Structure, member.OffsetBytes, $"chunk \"{member.Name}\" lies beyond 4 PiB");
            }

            if (member.StoredBytes < member.SizeBytes)
            {
                // The cut goes through this chunk.
                break;
            }

            chunks.Add((uint)number, member.OffsetBytes);
            next = number + 1;
        }

        if (next == 0)
        {
            throw new DiskFormatException(reader.Ended?.Fault ?? Fault.MissingParent, Structure, -1, $"the archive has no chunk of {disk.Reference}");
        }

        // xapi always writes the last chunk, others leave it out when it is zeros: only an archive with a sound end says so.
        return reader.Ended is null || isOver || next > last ? disk.SizeBytes : next * ChunkBytes;
    }

    /// <summary>Bytes that belong to no disk would be scanned by nobody.</summary>
    private static void Stray(TarMember member, List<XvaDisk> disks, HashSet<string> strays, ReadContext context)
    {
        int slash = member.Name.IndexOf('/', StringComparison.Ordinal);
        string owner = slash < 0 ? member.Name : member.Name[..slash];
        if (member.Kind != TarMemberKind.Other && strays.Count < MostStrays && !disks.Exists(d => d.Reference == owner) && strays.Add(owner))
        {
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", Structure, member.OffsetBytes, 0, $"\"{owner}\" belongs to no disk of the VM"));
        }
    }

    private static XvaDescriptor Descriptor(ImageFile file, TarReader reader)
    {
        if (file.Bytes.HasAt(0, [0x1F, 0x8B]) || file.Bytes.HasAt(0, [0x28, 0xB5, 0x2F, 0xFD]))
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, 0, "the export is packed; unpack it first");
        }

        TarMember first = reader.Next() ?? throw reader.Ended ?? new DiskFormatException(Fault.Corrupt, Structure, 0, "the archive is empty");
        if (first.Name != DescriptorName || first.Kind != TarMemberKind.Regular)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, 0, $"its first member is not {DescriptorName}");
        }

        if (first.SizeBytes > XvaDescriptor.MostBytes)
        {
            throw new DiskFormatException(Fault.Limit, Structure, first.OffsetBytes, $"{DescriptorName} has {first.SizeBytes} bytes");
        }

        byte[] bytes = new byte[first.SizeBytes];
        file.Bytes.Read(first.OffsetBytes, bytes);
        return XvaDescriptor.Parse(bytes);
    }
}
