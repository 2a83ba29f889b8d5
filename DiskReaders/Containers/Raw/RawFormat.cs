using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Raw;

/// <summary>
/// The whole file is the disk. Never recognised from content: every byte belongs to the guest, who could make a raw disk look like
/// any other format, so raw is declared by the inventory or is the last resort.
/// </summary>
public sealed class RawFormat : IContainerFormat
{
    public string Name => "raw";

    public FormatSupport Support { get; } = new(
        "raw",
        "any file that is declared raw (.raw, .dd, flat extents, discs as .iso) or that no format recognises; holes are not read");

    public bool Probe(ImageFile file) => false;

    public IReadOnlyList<ImageReference> References(ImageFile file) => [];

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        if (file.Bytes.Length == 0)
        {
            throw new DiskFormatException(Fault.Truncated, "raw image", 0, "the file is empty");
        }

        return new VirtualDisk
        {
            Format = Name,
            Content = new SliceSource(file.Bytes, 0, file.Bytes.Length),
            Chain = [new ChainLink(file.Name, Name)],
        };
    }
}
