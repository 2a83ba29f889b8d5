using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>A block of guest RAM in a stream.</summary>
/// <param name="Name">QEMU's name of it, such as <c>pc.ram</c>. Guest-controlled text.</param>
internal sealed record RamBlock(string Name, long Length, RamPages Pages);

/// <summary>
/// A migration stream of QEMU, version 3, up to where the RAM ends. Big-endian; sections by a type byte. Of devices nothing is needed, and their
/// sections do not tell their length: the first of them ends what is read. As migration/savevm.c and migration/ram.c define it.
/// </summary>
internal sealed class RamStream : IDisposable
{
    public const uint Magic = 0x5145_564D;

    // Types of sections.
    private const byte EndOfFile = 0;
    private const byte SectionStart = 1;
    private const byte SectionPart = 2;
    private const byte SectionEnd = 3;
    private const byte SectionFull = 4;
    private const byte Subsection = 5;
    private const byte Description = 6;
    private const byte Configuration = 7;
    private const byte Command = 8;
    private const byte Footer = 0x7E;

    // Flags of a record of the section "ram", in the lower bits of an address.
    private const ulong FlagFill = 0x02;
    private const ulong FlagBlocks = 0x04;
    private const ulong FlagPage = 0x08;
    private const ulong FlagEnd = 0x10;
    private const ulong FlagSameBlock = 0x20;
    private const ulong FlagDelta = 0x40;
    private const ulong FlagPacked = 0x100;
    private const ulong Flags = RamPages.PageBytes - 1;

    private const int MostBlocks = 1024;
    private const int MostConfigurationBytes = 256;

    /// <summary>Rounds of a live migration send pages again. Beyond this a stream is made up.</summary>
    private const int MostRounds = 64;

    private readonly List<RamBlock> _blocks = [];
    private readonly StreamCursor _in;
    private readonly ReadContext _context;
    private uint? _ramId;
    private RamBlock? _current;
    private long _end = long.MaxValue;

    private RamStream(StreamCursor input, ReadContext context)
    {
        _in = input;
        _context = context;
        Changes = new PageChanges(context.Budget);
    }

    public PageChanges Changes { get; }

    public IReadOnlyList<RamBlock> Blocks => _blocks;

    /// <summary>Machine type, such as <c>pc-q35-7.2</c>; empty where the stream does not say.</summary>
    public string Machine { get; private set; } = "";

    /// <summary>What ended it before the RAM was complete; null when nothing did.</summary>
    public DiskFormatException? Fault { get; private set; }

    /// <param name="source">The bytes.</param>
    /// <param name="start">Where the stream begins in them.</param>
    /// <exception cref="DiskFormatException">It is no such stream, or tells of no RAM.</exception>
    public static RamStream Read(IBlockSource source, long start, ReadContext context)
    {
        using var cursor = new StreamCursor(source, start, context.Budget);
        var stream = new RamStream(cursor, context);
        try
        {
            stream.Run(start);
            return stream;
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _blocks.ForEach(b => b.Pages.Dispose());
        Changes.Dispose();
    }

    private void Run(long start)
    {
        if (_in.U32() != Magic)
        {
            throw _in.Corrupt("bad magic");
        }

        if (_in.U32() is not 3 and var version)
        {
            throw _in.Unsupported($"version {version}");
        }

        try
        {
            while (Section())
            {
                if (_in.Position - start > _end)
                {
                    throw new DiskFormatException(Vmsweep.DiskReaders.Blocks.Fault.Limit, StreamCursor.Structure, _in.Position, $"it sends its memory more than {MostRounds} times");
                }
            }
        }
        catch (DiskFormatException e) when (_blocks.Count > 0)
        {
            // What came before is good.
            Fault = e;
        }

        if (_blocks.Count == 0)
        {
            throw _in.Corrupt("no section \"ram\"");
        }
    }

    /// <summary>False when the RAM is complete.</summary>
    private bool Section()
    {
        byte type = _in.U8();
        switch (type)
        {
            case Configuration:
                ReadConfiguration();
                return true;
            case Command:
                if (_in.U16() is var command && command == PackagedCommand)
                {
                    throw _in.Unsupported("a stream of postcopy");
                }

                _in.Skip(_in.U16());
                return true;
            case SectionStart:
                uint id = _in.U32();
                string name = Text(_in.U8());
                uint instance = _in.U32();
                uint version = _in.U32();
                if (name != "ram")
                {
                    throw _in.Unsupported($"a section \"{name}\" ({instance}, version {version}) among those of the memory");
                }

                if (_ramId is not null || version != 4)
                {
                    throw _ramId is null ? _in.Unsupported($"version {version} of the section \"ram\"") : _in.Corrupt("a second section \"ram\"");
                }

                _ramId = id;
                Ram();
                EndSection(id);
                return true;
            case SectionPart or SectionEnd:
                uint of = _in.U32();
                if (of != _ramId)
                {
                    throw _in.Corrupt("a part of no section");
                }

                Ram();
                EndSection(of);
                return type == SectionPart;
            case SectionFull or EndOfFile or Description or Subsection:
                throw _in.Corrupt("devices or the end before the memory was complete");
            default:
                throw _in.Corrupt($"a section of the type {type}");
        }
    }

    private const ushort PackagedCommand = 6;

    private void EndSection(uint id)
    {
        // Machine types before 2.4 send no footer, and nothing tells but the next byte: no section has its number.
        if (_in.U8() != Footer || _in.U32() != id)
        {
            throw _in.Corrupt("a section without its footer");
        }
    }

    // The machine's name, then subsections without a length, of which these are all that QEMU has.
    private void ReadConfiguration()
    {
        uint length = _in.U32();
        if (length > MostConfigurationBytes)
        {
            throw _in.Corrupt("a machine type that is too long");
        }

        Machine = Text((int)length);
        while (_in.Peek() == Subsection)
        {
            _in.Skip(1);
            string name = Text(_in.U8());
            _in.Skip(4);
            switch (name)
            {
                case "configuration/target-page-bits":
                    if (_in.U32() != 12)
                    {
                        throw _in.Unsupported("pages of another size than 4096 bytes");
                    }

                    break;
                case "configuration/capabilities":
                    uint capabilities = _in.U32();
                    for (uint i = 0; i < Math.Min(capabilities, MostConfigurationBytes); i++)
                    {
                        string capability = Text(_in.U8());
                        if (capability is "x-ignore-shared" or "mapped-ram" or "multifd")
                        {
                            throw _in.Unsupported($"a stream with {capability}");
                        }
                    }

                    break;
                case "configuration/uuid":
                    _in.Skip(16);
                    break;
                default:
                    throw _in.Unsupported($"a part \"{name}\" of the configuration");
            }
        }
    }

    private void Ram()
    {
        while (true)
        {
            _context.ThrowIfCancelled();
            ulong record = _in.U64();
            ulong flags = record & Flags;
            long address = (long)(record & ~Flags & long.MaxValue);
            if ((flags & FlagEnd) != 0)
            {
                return;
            }

            if (flags == FlagBlocks)
            {
                BlockList(address);
                continue;
            }

            if ((flags & ~(FlagFill | FlagPage | FlagSameBlock | FlagDelta | FlagPacked)) != 0 || (record >> 63) != 0)
            {
                throw _in.Unsupported($"a record with the flags {flags:x}");
            }

            if ((flags & FlagSameBlock) == 0)
            {
                string name = Text(_in.U8());
                _current = _blocks.Find(b => b.Name == name) ?? throw _in.Corrupt("a page of a block that was not listed");
            }

            if (_current is null || address >= _current.Length)
            {
                throw _in.Corrupt("a page outside its block");
            }

            Page(_current.Pages, address / RamPages.PageBytes, flags & ~FlagSameBlock);
        }
    }

    private void Page(RamPages pages, long page, ulong flags)
    {
        switch (flags)
        {
            case FlagFill:
                long at = _in.Position;
                pages.Set(page, _in.U8() == 0 ? PageKind.Zero : PageKind.Fill, at);
                break;
            case FlagPage:
                pages.Set(page, PageKind.Plain, _in.Position);
                _in.Skip(RamPages.PageBytes);
                break;
            case FlagDelta:
                // XBZRLE: the kind of encoding, of which there is one, and its length.
                if (_in.U8() != 1)
                {
                    throw _in.Corrupt("an unknown encoding of a page");
                }

                Changed(pages, page, _in.U16(), isDelta: true);
                break;
            case FlagPacked:
                Changed(pages, page, _in.U32(), isDelta: false);
                break;
            default:
                throw _in.Corrupt($"a page with the flags {flags:x}");
        }
    }

    private void Changed(RamPages pages, long page, uint length, bool isDelta)
    {
        (PageKind kind, long before) = pages[page];
        int depth = isDelta && kind == PageKind.Changed ? Changes[before].Depth + 1 : 0;
        if (length > RamPages.PageBytes * 2 || depth > PageChanges.MostLayers || (isDelta && kind == PageKind.Missing))
        {
            throw _in.Corrupt("a change of a page that is too long, too deep or of nothing");
        }

        pages.Set(page, PageKind.Changed, Changes.Add(new PageChange(_in.Position, (int)length, isDelta, kind, before, depth)));
        _in.Skip(length);
    }

    // Name and length of each block, up to the total.
    private void BlockList(long total)
    {
        if (_blocks.Count > 0)
        {
            throw _in.Corrupt("a second list of blocks");
        }

        long left = total;
        while (left > 0)
        {
            string name = Text(_in.U8());
            ulong length = _in.U64();
            if (_blocks.Count >= MostBlocks || length == 0 || length > (ulong)left || length % RamPages.PageBytes != 0 || _blocks.Exists(b => b.Name == name))
            {
                throw _in.Corrupt("a malformed list of blocks");
            }

            _blocks.Add(new RamBlock(name, (long)length, new RamPages((long)length / RamPages.PageBytes, _context.Budget)));
            left -= (long)length;
        }

        _end = total > long.MaxValue / (2 * MostRounds) ? long.MaxValue : (total * 2 * MostRounds) + (1 << 20);
    }

    private string Text(int length) => Encoding.UTF8.GetString(_in.Take(length));
}
