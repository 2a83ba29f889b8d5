using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>Decides what of an assembled file is listed, as what, and whether its content can be read.</summary>
internal sealed class GuestFileMaker(NtfsFileSystem fileSystem, NtfsVolume volume, MasterFileTable table, FolderTable folders)
{
    /// <summary>Metafiles have fixed numbers up to <c>$Extend</c>; up to 23 records are reserved.</summary>
    private const long LastMetafile = 11;
    private const long LastReserved = 23;
    private const long BadClusNumber = 8;

    /// <summary>FILE_ATTRIBUTE_REPARSE_POINT. [MS-FSCC] 2.6.</summary>
    private const uint HasReparsePoint = 0x400;

    /// <summary>FILE_ATTRIBUTE_OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS: the content, or a part of it, is elsewhere. [MS-FSCC] 2.6.</summary>
    private const uint ContentElsewhere = 0x1000 | 0x4_0000 | 0x40_0000;

    private readonly List<(AssembledName Name, FolderNode Folder)> _names = [];
    private bool _isDeleted;

    /// <summary>The stream that holds what the Windows Overlay Filter packed.</summary>
    private static ReadOnlySpan<byte> WofStream => "WofCompressedData"u8;

    /// <summary>The name under which the content of an attribute that has none is scanned beside the file's.</summary>
    private static ReadOnlySpan<byte> RawData => "$DATA"u8;

    public void Make(AssembledFile file, List<GuestFile> made)
    {
        FolderNode? self = file.IsFolder && file.Number != FolderTable.RootNumber ? folders.Learn(file) : null;
        GuestLink[] links = LinksOf(file, self, out FolderPlace place, out string? metafile);
        if (file.Damage is { } damage)
        {
            volume.Context.Gaps.Add(new CoverageGap(damage, PathOf(file, links), 0));
        }

        if (file.Number <= LastMetafile)
        {
            MakeMetafile(file, links, made);
            return;
        }

        if (metafile is not null)
        {
            MakeExtended(file, links, metafile, made);
            return;
        }

        if (file.Names.Count == 0 && file.Number <= LastReserved)
        {
            AddAll(file, links, GuestFileKind.System, made, _ => true);
            return;
        }

        if (file.IsFolder)
        {
            MakeFolder(file, links, place, made);
        }
        else
        {
            MakeFile(file, links, made);
        }

        MakeStreams(file, links, made);
    }

    /// <summary>A file that was deleted, as far as its streams are still whole.</summary>
    public void MakeDeleted(AssembledFile file, GuestLink[] links, List<GuestFile> made)
    {
        _isDeleted = true;
        try
        {
            MakeFile(file, links, made);
            MakeStreams(file, links, made);
        }
        finally
        {
            _isDeleted = false;
        }
    }

    private void MakeStreams(AssembledFile file, GuestLink[] links, List<GuestFile> made)
    {
        foreach (AssembledStream stream in file.Streams)
        {
            if (stream.Type == AttributeType.Data && stream.Name.Length > 0 && !IsPacked(file, stream))
            {
                made.Add(Content(file, links, stream, GuestFileKind.Regular, stream.Name));
            }
            else if (stream.Type != AttributeType.Data && !stream.Name.AsSpan().SequenceEqual("$EFS"u8))
            {
                // Extended attributes have carried code; other streams that are too large for their record may.
                made.Add(Content(file, links, stream, GuestFileKind.System, stream.Type == AttributeType.Ea ? "$EA"u8.ToArray() : AttributeName(stream)));
            }
        }
    }

    private static string PathOf(AssembledFile file, GuestLink[] links) =>
        file.Names.Count > 0 ? GuestName.Escape(links[0].Path(), controls: false) : "record " + file.Number.ToString(CultureInfo.InvariantCulture);

    private static byte[] AttributeName(AssembledStream stream) =>
        stream.Name.Length > 0 ? stream.Name : System.Text.Encoding.ASCII.GetBytes("$" + ((uint)stream.Type).ToString("X", CultureInfo.InvariantCulture));

    private static bool IsPacked(AssembledFile file, AssembledStream stream) =>
        file.Reparse?.WofAlgorithm is not null && stream.Name.AsSpan().SequenceEqual(WofStream);

    private void MakeFolder(AssembledFile file, GuestLink[] links, FolderPlace place, List<GuestFile> made)
    {
        if (file.Reparse is { IsNameSurrogate: true } reparse)
        {
            made.Add(Link(file, links, reparse.Target));
        }
        else if (place == FolderPlace.Ordinary)
        {
            made.Add(Plain(file, links, GuestFileKind.Folder));
        }

        if (file.Find(AttributeType.Data, default) is { FileSize: > 0 } data)
        {
            made.Add(Content(file, links, data, GuestFileKind.System, RawData.ToArray()));
        }
    }

    private void MakeFile(AssembledFile file, GuestLink[] links, List<GuestFile> made)
    {
        AssembledStream? data = null;
        foreach (AssembledStream stream in file.Streams)
        {
            if (stream.Type != AttributeType.Data || stream.Name.Length > 0)
            {
                continue;
            }

            // A second unnamed stream cannot be reached by the guest's own calls, but its bytes are there.
            if (data is not null)
            {
                made.Add(Content(file, links, stream, GuestFileKind.System, RawData.ToArray()));
            }

            data ??= stream;
        }

        if (file.Reparse is { } reparse)
        {
            MakeReparsed(file, links, reparse, data, made);
        }
        else if ((file.FileAttributes & HasReparsePoint) != 0 && data is not null && file.Damage is { } damage)
        {
            // What the reparse point says of the content is lost: the stream alone may be a stub of zeros.
            made.Add(Content(file, links, data, GuestFileKind.Regular, [], damage));
            if (data.IsStored)
            {
                made.Add(Content(file, links, data, GuestFileKind.System, RawData.ToArray()));
            }
        }
        else if (file.Interix is { } content && data is not null)
        {
            made.Add(InterixFile.IsLink(content) ? Link(file, links, InterixFile.Target(content)) : Plain(file, links, GuestFileKind.Device));
            made.Add(Content(file, links, data, GuestFileKind.System, RawData.ToArray()));
        }
        else
        {
            made.Add(data is null ? Plain(file, links, GuestFileKind.Regular) : Content(file, links, data, GuestFileKind.Regular, []));
        }
    }

    private void MakeReparsed(AssembledFile file, GuestLink[] links, ReparsePoint reparse, AssembledStream? data, List<GuestFile> made)
    {
        bool stored = data is { IsStored: true };
        if (reparse.IsWof)
        {
            made.Add(Wof(file, links, reparse, data));
        }
        else if (reparse.IsNameSurrogate)
        {
            made.Add(Link(file, links, reparse.Target));
        }
        else if (reparse.IsDeduplicated && data is not null)
        {
            made.Add(Deduplicated(file, links, reparse, data));
        }
        else if (data is null or { FileSize: 0 })
        {
            made.Add(reparse.IsDevice ? Plain(file, links, GuestFileKind.Device) : Link(file, links, reparse.Target));
            stored = false;
        }
        else
        {
            bool elsewhere = data.HasHoles || (file.FileAttributes & ContentElsewhere) != 0;
            made.Add(Content(file, links, data, GuestFileKind.Regular, [], elsewhere
                ? new DiskFormatException(Fault.Unsupported, "reparse point", -1, $"the content is not in the file: reparse tag 0x{reparse.Tag:X8}")
                : null));
            stored &= elsewhere;
        }

        if (stored)
        {
            made.Add(Content(file, links, data!, GuestFileKind.System, RawData.ToArray()));
        }
    }

    /// <summary>The content is what the packed stream unpacks to; its length is that of the unnamed stream, which is one hole.</summary>
    private NtfsFile Wof(AssembledFile file, GuestLink[] links, ReparsePoint reparse, AssembledStream? data)
    {
        AssembledStream? packed = file.Find(AttributeType.Data, WofStream);
        long size = data?.FileSize ?? 0;
        DiskFormatException? fault = data?.Fault;
        if (reparse.WofAlgorithm is null)
        {
            fault ??= new DiskFormatException(Fault.Unsupported, "WOF_EXTERNAL_INFO", -1, "the content is kept by a provider other than the file's own");
        }
        else if (packed is null && size > 0)
        {
            fault ??= new DiskFormatException(Fault.Corrupt, "WOF_EXTERNAL_INFO", -1, "the file has no WofCompressedData stream");
        }
        else if (packed is not null)
        {
            fault ??= FaultOf(packed);
        }

        return new NtfsFile
        {
            Kind = GuestFileKind.Regular,
            Id = (ulong)file.Number,
            SizeBytes = size,
            FirstByte = packed is null ? -1 : FirstByte(packed),
            Links = links,
            Fault = fault,
            Layout = packed is null || fault is not null ? null : NtfsContent.LayoutOf(packed, reparse.WofAlgorithm),
            SecurityId = file.SecurityId,
            IsDeleted = _isDeleted,
            FileSystem = fileSystem,
        };
    }

    /// <summary>The content is in the chunk store; the unnamed stream is one hole of its length.</summary>
    private NtfsFile Deduplicated(AssembledFile file, GuestLink[] links, ReparsePoint reparse, AssembledStream data)
    {
        DiskFormatException? fault = data.Fault ?? reparse.DedupFault;
        if (data.IsStored)
        {
            // Written to since: which bytes the stream holds and which the store is kept in a way that is not known.
            fault ??= new DiskFormatException(Fault.Unsupported, "deduplication", -1, $"of {data.FileSize} bytes in the chunk store some were written over since");
        }

        if (reparse.Dedup is { } dedup && dedup.FileSize != data.FileSize)
        {
            fault ??= new DiskFormatException(Fault.Unsupported, "deduplication", -1, $"the chunk store has {dedup.FileSize} of {data.FileSize} bytes");
        }

        return new NtfsFile
        {
            Kind = GuestFileKind.Regular,
            Id = (ulong)file.Number,
            SizeBytes = data.FileSize,
            FirstByte = -1,
            Links = links,
            Fault = fault,
            Layout = reparse.Dedup,
            SecurityId = file.SecurityId,
            IsDeleted = _isDeleted,
            FileSystem = fileSystem,
        };
    }

    /// <summary>Records 0 to 11 are metadata and not listed; what may carry code is scanned.</summary>
    private void MakeMetafile(AssembledFile file, GuestLink[] links, List<GuestFile> made)
    {
        if (file.Number == BadClusNumber && file.Find(AttributeType.Data, "$Bad"u8) is { FirstLcn: >= 0, Fault: null } bad)
        {
            made.Add(BadClusters(file, links, bad));
        }

        GuestFileKind kind = file.Number == FolderTable.RootNumber ? GuestFileKind.Regular : GuestFileKind.System;
        AddAll(file, links, kind, made, stream => file.Number switch
        {
            6 => stream.Name.Length > 0 && !stream.Name.AsSpan().SequenceEqual("$SRAT"u8),
            7 => true,
            BadClusNumber => stream.Fault is not null || stream.Name.Length > 0 && !stream.Name.AsSpan().SequenceEqual("$Bad"u8),
            9 => !stream.Name.AsSpan().SequenceEqual("$SDS"u8),
            10 => stream.Name.Length > 0 && !stream.Name.AsSpan().SequenceEqual("$Info"u8),
            FolderTable.RootNumber or FolderTable.ExtendNumber => true,
            _ => stream.Name.Length > 0,
        });
    }

    /// <summary>Well-known files below <c>$Extend</c>: not listed, but scanned unless they are the change journal.</summary>
    private void MakeExtended(AssembledFile file, GuestLink[] links, string metafile, List<GuestFile> made) =>
        AddAll(file, links, GuestFileKind.System, made, stream =>
            metafile != "$UsnJrnl" || !(stream.Name.AsSpan().SequenceEqual("$J"u8) || stream.Name.AsSpan().SequenceEqual("$Max"u8)));

    private void AddAll(AssembledFile file, GuestLink[] links, GuestFileKind kind, List<GuestFile> made, Func<AssembledStream, bool> wanted)
    {
        foreach (AssembledStream stream in file.Streams)
        {
            if (stream.Type == AttributeType.Data && (stream.FileSize > 0 || stream.Fault is not null) && wanted(stream))
            {
                byte[] name = stream.Name.Length == 0 && file.IsFolder ? RawData.ToArray() : stream.Name;
                made.Add(Content(file, links, stream, kind, name));
            }
        }
    }

    /// <summary>
    /// Clusters said to be bad belong to no file, so they are a place to hide in. <c>$Bad</c> is a hole as long as the volume; its
    /// content here is the clusters it does hold.
    /// </summary>
    private NtfsFile BadClusters(AssembledFile file, GuestLink[] links, AssembledStream bad)
    {
        long size = bad.StoredClusters * volume.ClusterBytes;
        return new NtfsFile
        {
            Kind = GuestFileKind.System,
            Id = (ulong)file.Number,
            SizeBytes = size,
            FirstByte = FirstByte(bad),
            Links = links,
            StreamName = bad.Name,
            Layout = NtfsContent.StoredClustersOf(bad, size),
            FileSystem = fileSystem,
        };
    }

    private NtfsFile Plain(AssembledFile file, GuestLink[] links, GuestFileKind kind) => new()
    {
        Kind = kind,
        Id = (ulong)file.Number,
        SizeBytes = 0,
        FirstByte = -1,
        Links = links,
        SecurityId = file.SecurityId,
        IsDeleted = _isDeleted,
        FileSystem = fileSystem,
    };

    private NtfsFile Link(AssembledFile file, GuestLink[] links, byte[] target) => new()
    {
        Kind = GuestFileKind.Link,
        Id = (ulong)file.Number,
        SizeBytes = target.Length,
        FirstByte = -1,
        Links = links,
        Layout = new LinkTarget(target),
        SecurityId = file.SecurityId,
        IsDeleted = _isDeleted,
        FileSystem = fileSystem,
    };

    private NtfsFile Content(AssembledFile file, GuestLink[] links, AssembledStream stream, GuestFileKind kind, byte[] streamName, DiskFormatException? fault = null)
    {
        fault ??= FaultOf(stream);
        bool plain = stream.ResidentRecord == file.Number || stream.FileSize == 0 || fault is not null;
        return new NtfsFile
        {
            Kind = kind,
            Id = (ulong)file.Number,
            SizeBytes = stream.FileSize,
            FirstByte = FirstByte(stream),
            Links = links,
            StreamName = streamName,
            Fault = fault,
            Layout = plain ? null : NtfsContent.SimplestLayoutOf(stream),
            ValuePosition = stream.IsResident ? (ushort)stream.ValuePosition : (ushort)0,
            SecurityId = file.SecurityId,
            IsDeleted = _isDeleted,
            FileSystem = fileSystem,
        };
    }

    private long FirstByte(AssembledStream stream) =>
        stream.FileSize == 0 ? -1
        : stream.IsResident ? table.OffsetOf(stream.ResidentRecord)
        : stream.FirstLcn < 0 ? -1
        : stream.FirstLcn * volume.ClusterBytes;

    private DiskFormatException? FaultOf(AssembledStream stream)
    {
        if (stream.Fault is not null)
        {
            return stream.Fault;
        }

        if ((stream.Flags & AttributeFlags.Encrypted) != 0)
        {
            return new DiskFormatException(Fault.Encrypted, "$DATA", -1, "encrypted by EFS");
        }

        if (stream.IsResident)
        {
            return null;
        }

        if (stream.IsCompressed)
        {
            if ((stream.Flags & AttributeFlags.CompressionMask) != AttributeFlags.Lznt1)
            {
                return new DiskFormatException(Fault.Unsupported, "$DATA", -1, $"compression 0x{stream.Flags & AttributeFlags.CompressionMask:X}");
            }

            if (!CompressedMap.IsPossible(volume, stream.CompressionUnitShift))
            {
                return new DiskFormatException(Fault.Corrupt, "$DATA", -1, $"compression unit of 2^{stream.CompressionUnitShift} clusters");
            }
        }

        return stream.NextVcn < volume.ClustersFor(Math.Min(stream.FileSize, stream.ValidDataLength))
            ? new DiskFormatException(Fault.Corrupt, "mapping pairs", -1, $"{stream.NextVcn} clusters are mapped, {stream.ValidDataLength} bytes are valid")
            : null;
    }

    private GuestLink[] LinksOf(AssembledFile file, FolderNode? self, out FolderPlace place, out string? metafile)
    {
        place = self?.Place ?? FolderPlace.Ordinary;
        metafile = null;
        if (self is not null)
        {
            return [new GuestLink(self.Folder.Parent!, self.Folder.Name)];
        }

        if (file.Number == FolderTable.RootNumber)
        {
            return [new GuestLink(folders.Root, [])];
        }

        _names.Clear();
        foreach (AssembledName name in file.Names)
        {
            if (name.Space != NameSpace.Dos || !HasPartner(file, name))
            {
                _names.Add((name, folders.Resolve(name.Parent)));
            }
        }

        if (_names.Count == 0)
        {
            return [new GuestLink(file.Number <= LastReserved ? folders.Root : folders.Orphans.Folder, NtfsWalk.Unnamed(file.Number))];
        }

        metafile = WellKnown(_names[0].Folder.Place, _names[0].Name.Name);
        var links = new GuestLink[_names.Count];
        for (int i = 0; i < links.Length; i++)
        {
            links[i] = new GuestLink(_names[i].Folder.Folder, _names[i].Name.Name);
        }

        return links;
    }

    /// <summary>An 8.3 name is left out when a long name of the same folder is its partner: one for each.</summary>
    private static bool HasPartner(AssembledFile file, AssembledName dos)
    {
        int longNames = 0;
        int shortNames = 0;
        foreach (AssembledName name in file.Names)
        {
            if (name.Parent == dos.Parent)
            {
                longNames += name.Space == NameSpace.Win32 ? 1 : 0;
                shortNames += name.Space == NameSpace.Dos ? 1 : 0;
            }
        }

        return shortNames <= longNames;
    }

    private static string? WellKnown(FolderPlace place, ReadOnlySpan<byte> name) => place switch
    {
        FolderPlace.Extend when name.SequenceEqual("$ObjId"u8) => "$ObjId",
        FolderPlace.Extend when name.SequenceEqual("$Quota"u8) => "$Quota",
        FolderPlace.Extend when name.SequenceEqual("$Reparse"u8) => "$Reparse",
        FolderPlace.Extend when name.SequenceEqual("$UsnJrnl"u8) => "$UsnJrnl",
        FolderPlace.RmMetadata when name.SequenceEqual("$Repair"u8) => "$Repair",
        FolderPlace.TxfLog when name.SequenceEqual("$Tops"u8) || name.StartsWith("$TxfLog"u8) => "$TxfLog",
        _ => null,
    };
}
