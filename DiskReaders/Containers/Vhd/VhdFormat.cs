using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>
/// The VHD of Virtual PC, Virtual Server, Hyper-V, Xen and Azure: fixed, dynamic and differencing (<c>.vhd</c>, <c>.avhd</c>, undo disks
/// <c>.vud</c>). Spec: Microsoft, Virtual Hard Disk Image Format Specification 1.0. A wrong checksum is a gap and what can be read is
/// read; a parent is opened through the resolver and must have the unique id that the header names.
/// </summary>
public sealed class VhdFormat : IIdentifiedFormat
{
    /// <summary>Times are UTC by the specification and local with some writers.</summary>
    private const long TimeSlackSeconds = 24 * 3600;

    private static readonly DateTimeOffset Epoch = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public string Name => "vhd";

    public FormatSupport Support { get; } = new(
        "Virtual PC and Xen VHD",
        "fixed, dynamic and differencing (.vhd, .avhd, .vud), unique id of parents checked");

    public bool Probe(ImageFile file) => VhdFooter.IsThere(file.Bytes);

    public IReadOnlyList<ImageReference> References(ImageFile file)
    {
        var gaps = new GapList();
        VhdFooter footer = VhdFooter.Read(file, gaps, out _);
        return footer.Type == VhdType.Differencing ? [Reference(DynamicDiskHeader.Read(file, footer, gaps))] : [];
    }

    public string IdentityOf(ImageFile file) => VhdFooter.Read(file, new GapList(), out _).UniqueId.ToString("D");

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        VhdFooter footer = VhdFooter.Read(file, context.Gaps, out long dataEnd);
        string identity = footer.UniqueId.ToString("D");
        if (footer.Type == VhdType.Fixed)
        {
            const string Fixed = "vhd/fixed";
            Bounds.Check(0, footer.DiskBytes, dataEnd, "VHD fixed disk");
            return new VirtualDisk
            {
                Format = Fixed,
                Content = new SliceSource(file.Bytes, 0, footer.DiskBytes, "VHD fixed disk"),
                Chain = [new ChainLink(file.Name, Fixed)],
                Identity = identity,
                Revisions = Times(footer, file),
            };
        }

        DynamicDiskHeader header = DynamicDiskHeader.Read(file, footer, context.Gaps);
        string format = header.Parent is null ? "vhd/dynamic" : "vhd/differencing";
        VirtualDisk? parent = header.Parent is null ? null : chain.OpenParent(file, Reference(header));
        try
        {
            CheckParent(file, parent, header, context.Gaps);
            var map = new VhdMap(file, header, footer.DiskBytes, dataEnd, context);
            return new VirtualDisk
            {
                Format = format,
                Content = new MappedSource(map, [file.Bytes], parent: parent?.Content),
                Chain = [new ChainLink(file.Name, format), .. parent?.Chain ?? []],
                Identity = identity,
                Revisions = Times(footer, file),
                Owned = parent is null ? [map] : [map, parent],
            };
        }
        catch
        {
            parent?.Dispose();
            throw;
        }
    }

    private static ImageReference Reference(DynamicDiskHeader header) => new(ReferenceKind.Parent, header.Parent!.Names, header.Parent.IsRaw ? "raw" : null);

    /// <summary>When the image was made, and when its file was last written to if that is known; seconds since 2000.</summary>
    private static string[] Times(VhdFooter footer, ImageFile file)
    {
        string made = footer.TimeStamp.ToString(CultureInfo.InvariantCulture);
        return file.Modified is { } modified ? [made, ((long)(modified - Epoch).TotalSeconds).ToString(CultureInfo.InvariantCulture)] : [made];
    }

    /// <summary>"Identification of the Parent Hard Disk Image": by its Unique ID. Its size may be another.</summary>
    private static void CheckParent(ImageFile file, VirtualDisk? parent, DynamicDiskHeader header, IGapSink gaps)
    {
        if (parent is null || header.Parent is not { IsRaw: false } named)
        {
            return;
        }

        if (parent.Identity != named.UniqueId.ToString("D"))
        {
            throw new DiskFormatException(
                Fault.MissingParent,
                DynamicDiskHeader.Name,
                header.At,
                $"the disk was made over {named.UniqueId:D}; the parent found has the identity {(parent.Identity.Length == 0 ? "(none)" : parent.Identity)}");
        }

        // Parent Time Stamp is the parent's time of last writing. Copying and hiding an image make that later and prove nothing, so a later
        // one passes; but an image made after the time noted, or one last written to before it, is not the parent as it was. Its id is
        // right all the same, so it is read.
        long[] times = parent.Format.StartsWith("vhd/", StringComparison.Ordinal) ? [.. parent.Revisions.Select(r => long.Parse(r, CultureInfo.InvariantCulture))] : [];
        bool isYounger = times.Length > 0 && times[0] != 0 && times[0] > named.TimeStamp + TimeSlackSeconds;
        bool isOlder = times.Length > 1 && times[1] < named.TimeStamp - TimeSlackSeconds;
        if (named.TimeStamp != 0 && (isYounger || isOlder))
        {
            string which = isYounger ? "was made after" : "was last written to before";
            gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, DynamicDiskHeader.Name, header.At + 56, 0, $"the parent found {which} the time that the disk noted of it: another state of it may have been put in its place"));
        }
    }
}
