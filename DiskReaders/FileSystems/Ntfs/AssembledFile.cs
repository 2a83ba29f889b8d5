using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>FILE_NAME, Flags: the name space of a name.</summary>
internal enum NameSpace : byte
{
    Posix = 0,
    Win32 = 1,
    Dos = 2,
    Win32AndDos = 3,
}

/// <summary>One $FILE_NAME.</summary>
internal readonly record struct AssembledName(FileReference Parent, NameSpace Space, byte[] Name);

/// <summary>One attribute that holds content, put together from all its parts.</summary>
internal sealed class AssembledStream(AttributeType type, byte[] name)
{
    public AttributeType Type { get; } = type;

    public byte[] Name { get; } = name;

    public ushort Flags { get; set; }

    public long FileSize { get; set; }

    public long ValidDataLength { get; set; }

    public byte CompressionUnitShift { get; set; }

    /// <summary>The record of a resident value; -1 when nonresident.</summary>
    public long ResidentRecord { get; set; } = -1;

    public int ValuePosition { get; set; }

    public StreamSegment First { get; set; }

    public List<StreamSegment>? More { get; set; }

    public long NextVcn { get; set; }

    /// <summary>First stored cluster; -1 when there is none.</summary>
    public long FirstLcn { get; set; } = -1;

    public bool HasHoles { get; set; }

    public long StoredClusters { get; set; }

    public DiskFormatException? Fault { get; set; }

    public bool IsResident => ResidentRecord >= 0;

    public bool IsStored => IsResident ? FileSize > 0 : FirstLcn >= 0;

    public bool IsCompressed => (Flags & AttributeFlags.CompressionMask) != 0 && !IsResident;
}

/// <summary>All that the FILE records of one file say, as far as the walk needs it.</summary>
internal sealed class AssembledFile
{
    public long Number { get; private set; }

    public ushort Sequence { get; set; }

    public bool IsFolder { get; set; }

    public uint FileAttributes { get; set; }

    public uint SecurityId { get; set; }

    public List<AssembledName> Names { get; } = [];

    public List<AssembledStream> Streams { get; } = [];

    public ReparsePoint? Reparse { get; set; }

    /// <summary>The resident content of a file that Windows' Unix subsystem wrote as a link or a device; null for any other.</summary>
    public byte[]? Interix { get; set; }

    /// <summary>The first thing found wrong with the file's records; what was read up to there is kept.</summary>
    public DiskFormatException? Damage { get; set; }

    public void Clear(long number)
    {
        Number = number;
        IsFolder = false;
        FileAttributes = 0;
        SecurityId = 0;
        Sequence = 0;
        Names.Clear();
        Streams.Clear();
        Reparse = null;
        Interix = null;
        Damage = null;
    }

    public AssembledStream? Find(AttributeType type, ReadOnlySpan<byte> name)
    {
        foreach (AssembledStream stream in Streams)
        {
            if (stream.Type == type && name.SequenceEqual(stream.Name))
            {
                return stream;
            }
        }

        return null;
    }
}
