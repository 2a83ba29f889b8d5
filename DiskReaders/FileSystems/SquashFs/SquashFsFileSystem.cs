using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.SquashFs;

/// <summary>An opened SquashFS.</summary>
internal sealed class SquashFsFileSystem : IFileSystem
{
    private readonly SquashFsVolume _volume;

    public SquashFsFileSystem(SquashFsVolume volume)
    {
        _volume = volume;
        SquashFsSuperblock super = volume.Super;
        Facts = new FileSystemFacts("squashfs", "", "", super.BlockBytes, super.BytesUsed, [$"packed with {NameOf(super.Compressor)}"]);
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk() => new SquashFsWalk(_volume).Files();

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not SquashFsFile squash)
        {
            throw new ArgumentException("not a file of this file system", nameof(file));
        }

        if (squash.Fault is { } fault)
        {
            throw fault;
        }

        if (squash.SizeBytes == 0)
        {
            return MemorySource.Empty;
        }

        if (squash.Kind == GuestFileKind.Link)
        {
            byte[] target = new byte[squash.SizeBytes];
            _volume.Inodes.Read(squash.Tail, target);
            return new MemorySource(target);
        }

        var map = new SquashFsMap(_volume, squash);
        return new MappedSource(map, [_volume.Source], _volume.Context, unpacker: map, owned: map);
    }

    public void Dispose() => _volume.Dispose();

    private static string NameOf(Compressor compressor) => compressor switch
    {
        Compressor.Gzip => "gzip",
        Compressor.Lzma => "lzma",
        Compressor.Lzo => "lzo",
        Compressor.Xz => "xz",
        Compressor.Lz4 => "lz4",
        _ => "zstd",
    };
}
