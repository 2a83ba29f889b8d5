using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Dedup;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>REPARSE_DATA_BUFFER. Spec: [MS-FSCC] 2.1.2. Little-endian; 8 bytes (24 with a GUID) and at most 16 KiB of data.</summary>
internal sealed class ReparsePoint
{
    /// <summary>MAXIMUM_REPARSE_DATA_BUFFER_SIZE.</summary>
    public const int MaxBytes = 16 << 10;

    private const uint MountPoint = 0xA000_0003;
    private const uint SymbolicLink = 0xA000_000C;
    private const uint LxSymbolicLink = 0xA000_001D;
    private const uint DedupTag = 0x8000_0013;
    private const uint Wof = 0x8000_0017;
    private const uint AfUnix = 0x8000_0023;
    private const uint LxFifo = 0x8000_0024;
    private const uint LxCharacterDevice = 0x8000_0025;
    private const uint LxBlockDevice = 0x8000_0026;
    private const uint NameSurrogate = 0x2000_0000;
    private const uint WofFileProvider = 2;

    public ReparsePoint(LeView v)
    {
        Tag = v.U32(0);
        LeView data = v.Inner(8, v.U16(4), "REPARSE_DATA_BUFFER");
        switch (Tag)
        {
            case MountPoint:
                Target = Utf16(data, 0, 8);
                break;
            case SymbolicLink:
                Target = Utf16(data, 0, 12);
                break;
            case LxSymbolicLink:
                // A version, then the target in UTF-8. [MS-FSCC] 2.1.2.7.
                data.Require(data.Length >= 4, 4, "ReparseDataLength");
                Target = data.Bytes[4..].ToArray();
                break;
            case Wof:
                ReadWof(data);
                break;
            case DedupTag:
                ReadDedup(data);
                break;
        }
    }

    public uint Tag { get; }

    /// <summary>[MS-FSCC] 2.1.2.1: the file stands for another name.</summary>
    public bool IsNameSurrogate => (Tag & NameSurrogate) != 0;

    public bool IsDevice => Tag is AfUnix or LxFifo or LxCharacterDevice or LxBlockDevice;

    /// <summary>IO_REPARSE_TAG_DEDUP: the content is in the volume's chunk store.</summary>
    public bool IsDeduplicated => Tag == DedupTag;

    /// <summary>Where the chunk store has the content; null when that cannot be told, for which <see cref="DedupFault"/> is the reason.</summary>
    public DedupReparse? Dedup { get; private set; }

    public DiskFormatException? DedupFault { get; private set; }

    public bool IsWof => Tag == Wof;

    /// <summary>The content is in the file's <c>WofCompressedData</c> stream, packed this way; null for another provider or algorithm.</summary>
    public WofAlgorithm? WofAlgorithm { get; private set; }

    /// <summary>What a link leads to, as guest bytes; empty when it is none.</summary>
    public byte[] Target { get; } = [];

    /// <summary>The substitute name of a link. [MS-FSCC] 2.1.2.4 and 2.1.2.5.</summary>
    private static byte[] Utf16(LeView data, int at, int pathBuffer)
    {
        int offset = data.U16(at);
        int length = data.U16(at + 2);
        data.Require(length % 2 == 0, at + 2, "SubstituteNameLength");
        ReadOnlySpan<byte> name = data.Field(pathBuffer + offset, length);
        return GuestName.FromUtf16(Encoding.Unicode.GetChars(name.ToArray()));
    }

    /// <summary>WOF_EXTERNAL_INFO and FILE_PROVIDER_EXTERNAL_INFO_V1: both of version 1.</summary>
    private void ReadWof(LeView data)
    {
        if (data.U32(0) == 1 && data.U32(4) == WofFileProvider && data.U32(8) == 1 && data.U32(12) <= (uint)Ntfs.WofAlgorithm.Xpress16K)
        {
            WofAlgorithm = (WofAlgorithm)data.U32(12);
        }
    }

    private void ReadDedup(LeView data)
    {
        try
        {
            Dedup = DedupReparse.Parse(data.Bytes);
        }
        catch (DiskFormatException e)
        {
            // The file is still listed, under its fault: the stream is a stub, or what was written over a part of the file since.
            DedupFault = e;
        }
    }
}
