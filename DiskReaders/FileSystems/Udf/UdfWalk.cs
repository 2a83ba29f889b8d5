using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Udf;

/// <summary>
/// Walks the folders of a file set. Spec: ECMA-167, section 4/14.4 "File Identifier Descriptor"; UDF 2.60, section 2.3.4. Folders that
/// lead back to themselves are entered once.
/// </summary>
internal sealed class UdfWalk(UdfVolume volume)
{
    private const string FolderStructure = "UDF directory";
    private const long MostFolderBytes = 256 << 20;
    private const int MostDepth = 4096;
    private const int MostPending = 2_000_000;
    private const int MostLinkBytes = 64 << 10;

    // FileCharacteristics.
    private const int IsHidden = 1;
    private const int IsDirectory = 2;
    private const int IsDeleted = 4;
    private const int IsParent = 8;

    private const int IdentifierHeader = 38;

    private readonly HashSet<long> _entered = [];
    private readonly Stack<Pending> _pending = new();
    private readonly byte[] _block = new byte[volume.BlockBytes];
    private long _folderBytes;

    /// <param name="root">The root directory's entry.</param>
    /// <param name="systemStreams">The system stream directory's; length 0 without.</param>
    public IEnumerable<UdfFile> Walk(UdfLongAd root, UdfLongAd systemStreams)
    {
        var top = new GuestFolder(null, []);
        var entry = new UdfFileEntry(volume, root.Block, root.Partition, _block);
        Push(entry, new GuestLink(top, []), isStreams: false, 0, top);
        if (systemStreams.IsThere)
        {
            PushStreams(systemStreams, new GuestLink(top, "$System"u8.ToArray()), 0);
        }

        while (_pending.TryPop(out Pending pending))
        {
            volume.Context.ThrowIfCancelled();
            using RentedBuffer? content = ReadFolder(pending);
            int at = 0;
            while (content is not null && at + IdentifierHeader <= content.Length)
            {
                UdfFile? file = Take(pending, content.Span, ref at);
                if (file is not null)
                {
                    yield return file;
                }
            }
        }
    }

    // Blocks that must not be used, and the like: streams of the volume, before UDF 2.00 a hidden file (UDF 2.60, 3.3.7.2; 1.50, 2.3.13).
    private static bool IsOfUdf(Pending folder, ReadOnlySpan<byte> name, int flags) => folder.Depth == 0
        && (folder.Streams is null ? (flags & IsHidden) != 0 && name.SequenceEqual("Non-Allocatable Space"u8) : name.StartsWith("*UDF "u8));

    private static string PathOf(Pending folder) =>
        folder.Streams is { } link ? GuestName.Escape(link.Path(), controls: false)
        : folder.Folder.Parent is null ? ""
        : GuestName.Escape(new GuestLink(folder.Folder.Parent, folder.Folder.Name).Path(), controls: false);

    private RentedBuffer? ReadFolder(Pending pending)
    {
        if (pending.Length == 0)
        {
            return null;
        }

        RentedBuffer? content = null;
        try
        {
            content = volume.Context.Budget.Rent((int)pending.Length);
            using var source = new MappedSource(new FilePieceMap(pending.Extents, pending.Length, volume.Source.Length, FolderStructure), [volume.Source]);
            source.Read(0, content.Span);
            return content;
        }
        catch (DiskFormatException fault)
        {
            content?.Dispose();
            volume.Context.Gaps.Add(new CoverageGap(fault, PathOf(pending), pending.Length));
            return null;
        }
    }

    // One File Identifier Descriptor; moves on to the next.
    private UdfFile? Take(Pending folder, ReadOnlySpan<byte> content, ref int at)
    {
        var v = new LeView(content[at..], "UDF File Identifier Descriptor", folder.Extents[0].Location + at);
        int length = (IdentifierHeader + v.U8(19) + v.U16(36) + 3) & ~3;
        if (length > v.Length || UdfTag.Identify(v, null) != UdfTag.FileIdentifier)
        {
            SkipDamage(folder, content, ref at);
            return null;
        }

        at += length;
        int flags = v.U8(18);
        if ((flags & (IsDeleted | IsParent)) != 0)
        {
            return null;
        }

        byte[] name = UdfNames.Name(v.Field(IdentifierHeader + v.U16(36), v.U8(19)));
        var icb = new UdfLongAd(v.Field(20, UdfLongAd.Size));
        try
        {
            v.Require(icb.IsThere, 20, "ICB: it names no extent");
            return Make(folder, name, icb, flags);
        }
        catch (DiskFormatException fault)
        {
            var link = folder.Streams ?? new GuestLink(folder.Folder, name);
            volume.Context.Gaps.Add(new CoverageGap(fault, GuestName.Escape(link.Path(folder.Streams is null ? [] : name), controls: false), 0));
            return null;
        }
    }

    // Descriptors begin at multiples of four bytes: the next sound one may be near.
    private void SkipDamage(Pending folder, ReadOnlySpan<byte> content, ref int at)
    {
        int from = at;
        at += 4;
        while (at + IdentifierHeader <= content.Length
            && !(content[at] == (UdfTag.FileIdentifier & 0xFF) && content[at + 1] == UdfTag.FileIdentifier >> 8
                && UdfTag.Identify(new LeView(content[at..], FolderStructure, 0), null) == UdfTag.FileIdentifier))
        {
            at += 4;
        }

        // What is zero to the folder's end was never used.
        if (content[from..Math.Min(at + IdentifierHeader, content.Length)].ContainsAnyExcept((byte)0))
        {
            volume.Context.Gaps.Add(new CoverageGap(
                Fault.Corrupt, PathOf(folder), "UDF File Identifier Descriptor", folder.Extents[0].Location, at - from, $"{at - from} bytes at {from} of the folder are no sound descriptor"));
        }
    }

    private UdfFile Make(Pending folder, byte[] name, UdfLongAd icb, int flags)
    {
        bool saysFolder = (flags & IsDirectory) != 0;
        var entry = new UdfFileEntry(volume, icb.Block, icb.Partition, _block);
        var link = folder.Streams ?? new GuestLink(folder.Folder, name);
        (long at, _) = volume.Locate(icb.Block, icb.Partition);
        bool isFolder = entry.FileType == UdfFileEntry.TypeDirectory && folder.Streams is null;
        if (isFolder != saysFolder && folder.Streams is null)
        {
            throw new DiskFormatException(Fault.Corrupt, UdfFileEntry.Structure, at, $"file type {entry.FileType} does not agree with its directory");
        }

        DiskFormatException? fault = null;
        FilePiece[] extents = [];
        try
        {
            extents = entry.Extents(volume, _block);
        }
        catch (DiskFormatException e)
        {
            fault = e;
        }

        GuestFileKind kind = entry.FileType switch
        {
            _ when isFolder => GuestFileKind.Folder,
            UdfFileEntry.TypeLink => GuestFileKind.Link,
            UdfFileEntry.TypeBlockDevice or UdfFileEntry.TypeCharacterDevice or UdfFileEntry.TypeFifo or UdfFileEntry.TypeSocket => GuestFileKind.Device,
            _ => IsOfUdf(folder, name, flags) ? GuestFileKind.System : GuestFileKind.Regular,
        };
        byte[]? target = null;
        if (kind == GuestFileKind.Link && fault is null)
        {
            try
            {
                target = Target(entry, extents);
            }
            catch (DiskFormatException e)
            {
                fault = e;
            }
        }

        if (isFolder && fault is null)
        {
            Push(entry, link, isStreams: false, folder.Depth + 1, new GuestFolder(folder.Folder, name), extents);
        }
        else if (isFolder)
        {
            volume.Context.Gaps.Add(new CoverageGap(fault!, GuestName.Escape(link.Path(), controls: false), 0));
        }

        if (entry.Streams.IsThere && folder.Streams is null)
        {
            PushStreams(entry.Streams, link, folder.Depth + 1);
        }

        return new UdfFile
        {
            Kind = kind,
            Id = (ulong)(at / volume.BlockBytes),
            SizeBytes = kind is GuestFileKind.Folder or GuestFileKind.Device ? 0 : target?.Length ?? entry.InformationLength,
            FirstByte = Array.Find(extents, e => e.Location != FilePiece.Zeros) is { Length: > 0 } first ? first.Location : -1,
            Links = [link],
            StreamName = folder.Streams is null ? [] : name,
            Fault = fault,
            Extents = extents,
            Target = target,
            Uid = entry.Uid,
        };
    }

    private void PushStreams(UdfLongAd streams, GuestLink link, int depth)
    {
        byte[] block = new byte[volume.BlockBytes];
        try
        {
            var entry = new UdfFileEntry(volume, streams.Block, streams.Partition, block);
            if (entry.FileType != UdfFileEntry.TypeStreamDirectory)
            {
                throw new DiskFormatException(Fault.Corrupt, UdfFileEntry.Structure, -1, $"file type {entry.FileType} is no stream directory");
            }

            Push(entry, link, isStreams: true, depth, link.Folder, entry.Extents(volume, block));
        }
        catch (DiskFormatException fault)
        {
            volume.Context.Gaps.Add(new CoverageGap(fault, GuestName.Escape(link.Path(), controls: false), 0));
        }
    }

    private void Push(UdfFileEntry entry, GuestLink link, bool isStreams, int depth, GuestFolder folder, FilePiece[]? extents = null)
    {
        extents ??= entry.Extents(volume, _block);
        long location = extents.Length > 0 ? extents[0].Location : -1;
        string? limit = depth > MostDepth ? $"more than {MostDepth} folders in each other"
            : _pending.Count >= MostPending ? $"more than {MostPending} folders to read"
            : entry.InformationLength > MostFolderBytes ? $"a folder of {entry.InformationLength} bytes"
            : (_folderBytes += entry.InformationLength) > volume.Source.Length ? "the folders together are longer than the volume"
            : null;
        DiskFormatException? fault = limit is not null ? new DiskFormatException(Fault.Limit, FolderStructure, location, limit)
            : extents.Length > 0 && !_entered.Add(location) ? new DiskFormatException(Fault.Corrupt, FolderStructure, location, "the folder was entered before")
            : null;
        if (fault is not null)
        {
            volume.Context.Gaps.Add(new CoverageGap(fault, link.Name.Length == 0 ? "" : GuestName.Escape(link.Path(), controls: false), 0));
            return;
        }

        _pending.Push(new Pending(folder, isStreams ? link : null, extents, entry.InformationLength, depth));
    }

    // Path Component (4/14.16.1): type, length of the identifier, version, identifier.
    private byte[] Target(UdfFileEntry entry, FilePiece[] extents)
    {
        const int Header = 4;
        if (entry.InformationLength > MostLinkBytes)
        {
            throw new DiskFormatException(Fault.Limit, "UDF path component", -1, $"a link of {entry.InformationLength} bytes");
        }

        using RentedBuffer content = volume.Context.Budget.Rent((int)entry.InformationLength);
        using var source = new MappedSource(new FilePieceMap(extents, entry.InformationLength, volume.Source.Length, "UDF link"), [volume.Source]);
        source.Read(0, content.Span);
        List<byte> target = [];
        var rest = new LeView(content.Span, "UDF path component", extents.Length > 0 ? extents[0].Location : -1);
        for (int at = 0; at < rest.Length;)
        {
            int length = rest.U8(at + 1);
            ReadOnlySpan<byte> identifier = rest.Field(at + Header, length);
            int type = rest.U8(at);
            if (target.Count > 0 && target[^1] != (byte)'/')
            {
                target.Add((byte)'/');
            }

            target.AddRange(type switch { 1 or 2 => "/"u8, 3 => ".."u8, 4 => "."u8, _ => UdfNames.Name(identifier) });
            at += Header + length;
        }

        return [.. target];
    }

    /// <param name="Streams">The file whose streams these are; null for a folder.</param>
    private readonly record struct Pending(GuestFolder Folder, GuestLink? Streams, FilePiece[] Extents, long Length, int Depth);
}
