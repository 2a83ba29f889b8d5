using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Something on a disk that is read whole: a guest file, a stream, or bytes outside every file.</summary>
internal abstract class ContentItem
{
    /// <summary>The coverage this content counts for.</summary>
    public required Coverage Coverage { get; init; }

    public required long SizeBytes { get; init; }

    /// <summary>Where the first byte lies, for reading in that order: file of the chain, then byte in it.</summary>
    public (int File, long Position) Order { get; init; }

    /// <summary>Another item has the same size, so that their contents may be equal.</summary>
    public bool MayHaveTwin { get; set; }

    /// <summary>What tells that it is the same as in another scan; null where that cannot be told.</summary>
    public UInt128? Trace { get; set; }

    /// <summary>The same in every VM over a layer; null where no layer has all of it.</summary>
    public UInt128? LayerTrace { get; set; }

    /// <summary>The job's number of that layer.</summary>
    public int Layer { get; set; } = -1;

    /// <summary>What it must be, where it is read only to check that; null elsewhere.</summary>
    public KnownContent? Expected { get; set; }

    /// <summary>Why the content cannot be read; null when it can.</summary>
    public virtual DiskFormatException? Fault => null;

    /// <summary>Path in the contract's escaped form, with the volume.</summary>
    public abstract string Path { get; }

    /// <summary>All paths, <see cref="Path"/> first.</summary>
    public virtual IReadOnlyList<string> Paths => [Path];

    public virtual string Owner => "";

    /// <summary>Rules may speak of it as a whole, as of a file; what lies between files has no whole.</summary>
    public virtual bool HasWhole => true;

    public abstract IBlockSource Open();
}

/// <summary>A guest file or stream.</summary>
internal sealed class GuestContent(InspectedVolume volume, GuestFile file) : ContentItem
{
    public GuestFile File { get; } = file;

    public override DiskFormatException? Fault => File.Fault;

    public override string Path => GuestPaths.Of(volume.Id, File, File.Links[0]);

    public override IReadOnlyList<string> Paths => [.. File.Links.Select(l => GuestPaths.Of(volume.Id, File, l))];

    public override string Owner => File.Owner;

    public override IBlockSource Open() => volume.FileSystem!.OpenContent(File);
}

/// <summary>Bytes of a disk or volume that belong to no file.</summary>
internal sealed class AreaContent(string path, IBlockSource source) : ContentItem
{
    public override string Path => path;

    public override bool HasWhole => false;

    public override IBlockSource Open() => source;
}
