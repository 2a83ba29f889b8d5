using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// VMware virtual disks: flat, hosted sparse, stream-optimized, ESXi host sparse (COWD) and space-efficient sparse extents, one or many,
/// and deltas over a parent. Spec: VMware Virtual Disk Format 1.1 and 5.0; space-efficient sparse as QEMU reads it.
/// </summary>
public sealed class VmdkFormat : IContainerFormat
{
    private const int ProbeBytes = 1024;

    private static readonly UTF8Encoding Utf8 = new(false);

    public string Name => "vmdk";

    public FormatSupport Support { get; } = new(
        "VMware VMDK",
        "monolithicFlat, monolithicSparse, twoGbMaxExtentFlat, twoGbMaxExtentSparse, vmfs, streamOptimized, vmfsSparse (COWD), seSparse; delta chains with CID and parent checked",
        "encrypted disks, raw device mappings");

    public bool Probe(ImageFile file)
    {
        Span<byte> bytes = stackalloc byte[ProbeBytes];
        bytes = bytes[..(int)Math.Min(ProbeBytes, file.Bytes.Length)];
        try
        {
            file.Bytes.Read(0, bytes);
        }
        catch (DiskFormatException)
        {
            return false;
        }

        return VmdkHead.KindOf(bytes) != VmdkHeadKind.Text || IsDescriptor(bytes);
    }

    public IReadOnlyList<ImageReference> References(ImageFile file)
    {
        VmdkHead head = VmdkHead.Read(file, new ScanBudget(VmdkLimits.MostDescriptorBytes));
        if (head.Descriptor is not { } descriptor)
        {
            return [];
        }

        var references = new List<ImageReference>();
        if (head.ExtentsAreFiles)
        {
            references.AddRange(descriptor.Extents.Where(e => e.Type != ExtentType.Zero).Select(Reference));
        }

        if (descriptor.ParentFileNameHint is { } parent)
        {
            references.Add(new ImageReference(ReferenceKind.Parent, [parent]));
        }

        return references;
    }

    /// <summary>The one extent of a disk that has no parent and is nothing but plain sectors in one file, from that file's first byte on; null for every other disk.</summary>
    /// <exception cref="DiskFormatException">Header or descriptor is bad.</exception>
    public static ImageReference? PlainExtent(ImageFile file)
    {
        VmdkHead head = VmdkHead.Read(file, new ScanBudget(VmdkLimits.MostDescriptorBytes));
        return head is { ExtentsAreFiles: true, Descriptor: { HasParent: false, Extents: [{ IsFlat: true, OffsetSectors: 0 } extent] } } ? Reference(extent) : null;
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        VmdkHead head = VmdkHead.Read(file, context.Budget);
        string createType = VmdkCreateType.Check(head);
        using var builder = new VmdkBuilder(file, context);
        if (head.ExtentsAreFiles)
        {
            foreach (DescriptorExtent extent in head.Descriptor!.Extents)
            {
                context.ThrowIfCancelled();
                builder.Add(extent, extent.Type == ExtentType.Zero ? null : chain.OpenExtent(file, Reference(extent)));
            }
        }
        else
        {
            builder.AddEmbedded(head);
        }

        if (head.Descriptor is null)
        {
            context.Gaps.Add(new CoverageGap(
                Fault.MissingParent, file.Name, "VMDK descriptor", 0, 0, "the extent has no descriptor: whether it is a whole disk and what lies below it is not known"));
        }

        VirtualDisk? parent = null;
        if (head.Descriptor is { HasParent: true } child)
        {
            parent = builder.Own(chain.OpenParent(file, new ImageReference(ReferenceKind.Parent, [child.ParentFileNameHint!])));
            string expected = child.ParentCid.ToString("x8", null);
            if (parent.Identity != expected)
            {
                throw new DiskFormatException(
                    Fault.MissingParent, "VMDK descriptor", -1, $"parentCID is {expected}, the CID of {child.ParentFileNameHint} is {(parent.Identity.Length == 0 ? "unknown" : parent.Identity)}");
            }
        }

        return builder.Build($"{Name}/{createType}", head.Descriptor?.Cid.ToString("x8", null) ?? "", parent);
    }

    private static ImageReference Reference(DescriptorExtent extent) => new(ReferenceKind.Extent, [extent.FileName]);

    /// <summary>As QEMU recognises one: comments and empty lines, then <c>version=</c>; or the customary first comment.</summary>
    private static bool IsDescriptor(ReadOnlySpan<byte> bytes)
    {
        foreach (ReadOnlySpan<char> raw in Utf8.GetString(bytes).AsSpan().EnumerateLines())
        {
            ReadOnlySpan<char> line = raw.Trim();
            if (line.StartsWith("# Disk DescriptorFile", StringComparison.OrdinalIgnoreCase))
            {
                return true;
            }

            if (line.Length > 0 && line[0] != '#')
            {
                return line.StartsWith("version=", StringComparison.OrdinalIgnoreCase);
            }
        }

        return false;
    }
}
