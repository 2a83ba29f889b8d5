using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>
/// What the System Use area of one record says. Spec: IEEE P1281 "System Use Sharing Protocol" and P1282 "Rock Ridge Interchange
/// Protocol"; numbers in both byte orders. One instance is filled again for each record.
/// </summary>
internal sealed class RockRidge(IBlockSource volume, int blockBytes)
{
    public const int FileTypeMask = 0xF000;
    public const int TypeDirectory = 0x4000;
    public const int TypeRegular = 0x8000;
    public const int TypeLink = 0xA000;

    private const string Structure = "Rock Ridge";

    /// <summary>As many as Linux follows (RR_MAX_CE_ENTRIES).</summary>
    private const int MostContinuations = 32;

    private const int MostContinuationBytes = 64 << 10;
    private const int MostNameBytes = 4096;
    private const int HeaderBytes = 4;

    // Flags of NM and of the components of SL.
    private const int Continue = 1;
    private const int Current = 2;
    private const int Parent = 4;
    private const int Root = 8;

    private readonly List<byte> _name = [];
    private readonly List<byte> _link = [];
    private bool _componentGoesOn;

    /// <summary>Bytes of the System Use area that are not shared by the protocol (LEN_SKP of SP).</summary>
    public int Skip { get; private set; }

    public IReadOnlyList<byte> Name => _name;

    /// <summary>The target of a symbolic link.</summary>
    public IReadOnlyList<byte> Link => _link;

    /// <summary>POSIX mode; -1 without PX.</summary>
    public int Mode { get; private set; }

    public uint Uid { get; private set; }

    /// <summary>CL: the folder lies elsewhere, at this block; -1 without.</summary>
    public long ChildBlock { get; private set; }

    /// <summary>RE: the folder is shown elsewhere.</summary>
    public bool IsRelocated { get; private set; }

    /// <summary>ZF: how the content is packed; null when it is not.</summary>
    public Zisofs? Packed { get; private set; }

    /// <summary>True when the root folder's own record says that the protocol is used; remembers what is to be skipped.</summary>
    public bool Begin(ReadOnlySpan<byte> systemUse)
    {
        // CD-ROM XA keeps 14 bytes of its own in front.
        const int XaBytes = 14;
        foreach (int at in (ReadOnlySpan<int>)[0, XaBytes])
        {
            if (systemUse.Length >= at + 7 && systemUse[at..].StartsWith("SP"u8) && systemUse[at + 4] == 0xBE && systemUse[at + 5] == 0xEF)
            {
                Skip = systemUse[at + 6];
                return true;
            }
        }

        return systemUse.StartsWith("RR"u8) || systemUse.StartsWith("PX"u8);
    }

    /// <exception cref="DiskFormatException">A continuation area cannot be read, or goes round.</exception>
    public void Parse(ReadOnlySpan<byte> systemUse, long offset)
    {
        _name.Clear();
        _link.Clear();
        _componentGoesOn = false;
        (Mode, Uid, ChildBlock, IsRelocated, Packed) = (-1, 0, -1, false, null);
        systemUse = systemUse.Length > Skip ? systemUse[Skip..] : default;
        (long Offset, int Length)? next = Area(systemUse, offset);
        Span<byte> small = stackalloc byte[1024];
        for (int i = 0; next is { } area; i++)
        {
            if (i == MostContinuations)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, area.Offset, $"more than {MostContinuations} continuation areas");
            }

            if (area.Length > MostContinuationBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, area.Offset, $"a continuation area of {area.Length} bytes");
            }

            Span<byte> bytes = area.Length <= small.Length ? small[..area.Length] : new byte[area.Length];
            volume.Read(area.Offset, bytes);
            next = Area(bytes, area.Offset);
        }
    }

    // One area of entries; answers where the next one lies.
    private (long Offset, int Length)? Area(ReadOnlySpan<byte> area, long offset)
    {
        (long, int)? next = null;
        while (area.Length >= HeaderBytes && area[2] >= HeaderBytes && area[2] <= area.Length)
        {
            ReadOnlySpan<byte> entry = area[..area[2]];
            if (entry is [(byte)'S', (byte)'T', ..])
            {
                break;
            }

            if (entry is [(byte)'C', (byte)'E', ..] && entry.Length >= 28)
            {
                uint length = U32(entry, 20);
                next = length == 0 ? null : ((U32(entry, 4) * (long)blockBytes) + U32(entry, 12), (int)Math.Min(length, int.MaxValue));
            }
            else
            {
                Take(entry, offset);
            }

            area = area[entry.Length..];
        }

        return next;
    }

    private void Take(ReadOnlySpan<byte> entry, long offset)
    {
        switch (entry)
        {
            case [(byte)'N', (byte)'M', _, _, byte flags, ..]:
                if ((flags & (Current | Parent)) == 0)
                {
                    _name.AddRange(entry[5..]);
                    Limit(_name, offset);
                }

                break;
            case [(byte)'P', (byte)'X', ..] when entry.Length >= 36:
                Mode = (int)(U32(entry, 4) & 0xFFFF);
                Uid = U32(entry, 20);
                break;
            case [(byte)'S', (byte)'L', _, _, _, ..]:
                TakeLink(entry[5..]);
                Limit(_link, offset);
                break;
            case [(byte)'C', (byte)'L', ..] when entry.Length >= 12:
                ChildBlock = U32(entry, 4);
                break;
            case [(byte)'R', (byte)'E', ..]:
                IsRelocated = true;
                break;
            case [(byte)'Z', (byte)'F', ..] when entry.Length >= 16:
                Packed = new Zisofs(entry.Slice(4, 2).SequenceEqual("pz"u8), entry[6] * 4, entry[7], U32(entry, 8));
                break;
        }
    }

    // Component Records (P1282, 4.1.3.1): flags, length, text.
    private void TakeLink(ReadOnlySpan<byte> components)
    {
        while (components.Length >= 2 && components.Length >= 2 + components[1])
        {
            int flags = components[0];
            if (_link.Count > 0 && !_componentGoesOn && _link[^1] != (byte)'/')
            {
                _link.Add((byte)'/');
            }

            _link.AddRange((flags & (Current | Parent | Root)) switch
            {
                Current => "."u8,
                Parent => ".."u8,
                Root => "/"u8,
                _ => components.Slice(2, components[1]),
            });
            _componentGoesOn = (flags & Continue) != 0;
            components = components[(2 + components[1])..];
        }
    }

    private static void Limit(List<byte> text, long offset)
    {
        if (text.Count > MostNameBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, offset, $"a name of more than {MostNameBytes} bytes");
        }
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);
}

/// <summary>How zisofs packed a file.</summary>
/// <param name="IsKnown">The algorithm is <c>pz</c>, zlib.</param>
/// <param name="HeaderBytes">Where the block pointers begin.</param>
/// <param name="BlockShift">Each block has 2 to this power of bytes when unpacked.</param>
/// <param name="Bytes">Unpacked length.</param>
internal readonly record struct Zisofs(bool IsKnown, int HeaderBytes, int BlockShift, uint Bytes);
