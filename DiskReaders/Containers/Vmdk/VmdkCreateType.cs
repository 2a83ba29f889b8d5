using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>The descriptor's <c>createType</c>. Spec: VMware Virtual Disk Format 5.0, "The Header".</summary>
internal static class VmdkCreateType
{
    private const string Structure = "VMDK descriptor";

    private static readonly string[] Read =
    [
        "monolithicFlat", "monolithicSparse", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse", "streamOptimized",
        "vmfs", "vmfsThin", "vmfsPreallocated", "vmfsEagerZeroedThick", "vmfsSparse", "seSparse",
    ];

    /// <summary>All or part of a device of the host, or whatever its author had in mind.</summary>
    private static readonly string[] Refused =
    [
        "custom", "fullDevice", "partitionedDevice", "vmfsRaw", "vmfsRDM", "vmfsRDMP", "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap",
    ];

    /// <summary>Checks that the disk is of a kind that is read, and that what the descriptor says of its extents fits where it was found.</summary>
    /// <returns>The type as the specification spells it.</returns>
    public static string Check(VmdkHead head)
    {
        bool compressed = head.Header is { IsCompressed: true };
        if (head.Descriptor is not { } descriptor)
        {
            return compressed ? "streamOptimized" : "monolithicSparse";
        }

        string type = Canonical(descriptor.CreateType);
        if (descriptor.Extents.Count == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, -1, "no extents");
        }

        if (head.Header is null)
        {
            return type;
        }

        // An embedded descriptor describes the file it is in. Readers that would follow it elsewhere are to be refused this image.
        DescriptorExtent extent = descriptor.Extents[0];
        if (descriptor.Extents.Count != 1 || extent.Type != ExtentType.Sparse)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, extent.At, "an embedded descriptor must have one extent, of type SPARSE");
        }

        if (extent.FileName.AsSpan().IndexOfAny("/\\") >= 0)
        {
            throw new DiskFormatException(Fault.Refused, Structure, extent.At, $"an embedded descriptor names a path: {extent.FileName}");
        }

        if (type is not ("monolithicSparse" or "streamOptimized"))
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, -1, $"createType {type} in a sparse extent");
        }

        return compressed ? "streamOptimized" : "monolithicSparse";
    }

    private static string Canonical(string createType)
    {
        string type = createType.StartsWith("2Gb", StringComparison.OrdinalIgnoreCase) ? "twoGb" + createType[3..] : createType;
        if (Array.Find(Read, t => t.Equals(type, StringComparison.OrdinalIgnoreCase)) is { } known)
        {
            return known;
        }

        string shown = createType.Length <= 80 ? createType : createType[..80];
        throw Array.Exists(Refused, t => t.Equals(type, StringComparison.OrdinalIgnoreCase))
            ? new DiskFormatException(Fault.Refused, Structure, -1, $"createType {shown} stands for a device of the host")
            : new DiskFormatException(Fault.Unsupported, Structure, -1, $"createType {shown}");
    }
}
