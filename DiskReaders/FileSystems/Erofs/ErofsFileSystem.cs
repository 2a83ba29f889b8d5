using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>An opened EROFS.</summary>
internal sealed class ErofsFileSystem : IFileSystem
{
    private static readonly byte[] BootName = "$Boot"u8.ToArray();

    private readonly ErofsVolume _volume;

    public ErofsFileSystem(ErofsVolume volume)
    {
        _volume = volume;
        ErofsSuperblock super = volume.Super;
        Facts = new FileSystemFacts("erofs", super.VolumeName, super.UuidText, super.BlockBytes, super.Blocks << super.BlockShift, []);
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        var walk = new ErofsWalk(_volume);
        if (Boot(walk.Root) is { } boot)
        {
            yield return boot;
        }

        foreach (ErofsFile file in walk.Files())
        {
            yield return file;
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not ErofsFile erofs)
        {
            throw new ArgumentException("not a file of this file system", nameof(file));
        }

        if (erofs.Fault is { } fault)
        {
            throw fault;
        }

        return erofs.IsBoot ? new SliceSource(_volume.Source, 0, erofs.SizeBytes)
            : erofs.SizeBytes == 0 ? MemorySource.Empty
            : _volume.Open(erofs.Inode);
    }

    public void Dispose() => _volume.Dispose();

    // "EROFS_SUPER_OFFSET": the first 1024 bytes are left to boot code.
    private ErofsFile? Boot(GuestFolder root)
    {
        Span<byte> bytes = stackalloc byte[ErofsSuperblock.Offset];
        _volume.Source.Read(0, bytes);
        return bytes.ContainsAnyExcept((byte)0)
            ? new ErofsFile { Kind = GuestFileKind.System, Id = 0, SizeBytes = bytes.Length, FirstByte = 0, Links = [new GuestLink(root, BootName)], Inode = default, IsBoot = true }
            : null;
    }
}
