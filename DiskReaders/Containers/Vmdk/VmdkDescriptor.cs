using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>
/// The text that describes a disk. Spec: VMware Virtual Disk Format 5.0, "The Descriptor File". Keys are case-insensitive. A line must be
/// a comment, an entry (one word, <c>=</c>, a value), a <c>ddb</c> entry or an extent; any other line refuses the descriptor, as the
/// oslo.utils inspector does, because readers that skip what they do not know disagree with those that do not.
/// </summary>
internal sealed class VmdkDescriptor
{
    /// <summary><c>parentCID</c> of a disk without a parent.</summary>
    public const uint NoParent = 0xFFFF_FFFF;

    private const string Structure = "VMDK descriptor";

    private static readonly string[] DecisiveKeys = ["version", "encoding", "CID", "parentCID", "createType", "parentFileNameHint"];

    private static readonly Dictionary<string, ExtentType> Types = new(StringComparer.OrdinalIgnoreCase)
    {
        ["FLAT"] = ExtentType.Flat,
        ["SPARSE"] = ExtentType.Sparse,
        ["ZERO"] = ExtentType.Zero,
        ["VMFS"] = ExtentType.Vmfs,
        ["VMFSSPARSE"] = ExtentType.VmfsSparse,
        ["SESPARSE"] = ExtentType.SeSparse,
    };

    private readonly Dictionary<string, string> _entries = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<DescriptorExtent> _extents = [];
    private readonly long _offset;
    private Encoding _encoding = new UTF8Encoding(false, throwOnInvalidBytes: true);

    private VmdkDescriptor(long offset) => _offset = offset;

    /// <summary><c>CID</c>: changes when the content does.</summary>
    public uint Cid { get; private set; }

    /// <summary><c>parentCID</c>: the parent's <see cref="Cid"/> when this disk was made over it.</summary>
    public uint ParentCid { get; private set; }

    public bool HasParent => ParentCid != NoParent;

    /// <summary><c>createType</c>, as written.</summary>
    public string CreateType { get; private set; } = "";

    /// <summary><c>parentFileNameHint</c>, as written.</summary>
    public string? ParentFileNameHint { get; private set; }

    public IReadOnlyList<DescriptorExtent> Extents => _extents;

    /// <param name="bytes">The text; ends at the first NUL, with which embedded descriptors are padded.</param>
    /// <param name="offset">Where it lies in its file.</param>
    /// <exception cref="DiskFormatException">The text breaks a rule.</exception>
    public static VmdkDescriptor Parse(ReadOnlySpan<byte> bytes, long offset)
    {
        int end = bytes.IndexOf((byte)0);
        ReadOnlySpan<byte> rest = end < 0 ? bytes : bytes[..end];
        var descriptor = new VmdkDescriptor(offset);
        var extentLines = new List<(int At, string Line)>();
        int at = 0;
        while (at < rest.Length)
        {
            int feed = rest[at..].IndexOf((byte)'\n');
            int length = feed < 0 ? rest.Length - at : feed;

            // Latin-1 keeps every byte as one character; only names are decoded, when the encoding is known.
            string line = Encoding.Latin1.GetString(rest.Slice(at, length)).Trim(' ', '\t', '\r');
            if (IsExtent(line))
            {
                if (extentLines.Count >= VmdkLimits.MostExtents)
                {
                    throw descriptor.Fail(Fault.Limit, at, $"more than {VmdkLimits.MostExtents} extents");
                }

                extentLines.Add((at, line));
            }
            else if (line.Length > 0 && line[0] != '#')
            {
                descriptor.AddEntry(line, at);
            }

            at += length + 1;
        }

        descriptor.Interpret();
        foreach ((int lineAt, string line) in extentLines)
        {
            descriptor.AddExtent(line, lineAt);
        }

        return descriptor;
    }

    private static bool IsExtent(string line) =>
        FirstWord(line) is var word
        && (word.Equals("RW", StringComparison.OrdinalIgnoreCase)
            || word.Equals("RDONLY", StringComparison.OrdinalIgnoreCase)
            || word.Equals("NOACCESS", StringComparison.OrdinalIgnoreCase));

    private static ReadOnlySpan<char> FirstWord(ReadOnlySpan<char> line) => line.IndexOfAny(' ', '\t') is var end and >= 0 ? line[..end] : line;

    private void AddEntry(string line, int at)
    {
        // Partially encrypted hosted disks carry entries under encryption and the like; ESXi names its encryption filter and the key's holder.
        int equals = line.IndexOf('=', StringComparison.Ordinal);
        string key = equals < 0 ? line : line[..equals].TrimEnd(' ', '\t');
        if (key.StartsWith("encrypt", StringComparison.OrdinalIgnoreCase)
            || key.EndsWith("keySafe", StringComparison.OrdinalIgnoreCase)
            || (key.Equals("ddb.iofilters", StringComparison.OrdinalIgnoreCase) && line.Contains("vmcrypt", StringComparison.OrdinalIgnoreCase)))
        {
            throw Fail(Fault.Encrypted, at, $"the disk is encrypted: {Shorten(line)}");
        }

        if (key.StartsWith("ddb.", StringComparison.OrdinalIgnoreCase))
        {
            // The disk database describes virtual hardware; nothing in it says where bytes are.
            return;
        }

        if (equals <= 0 || key.AsSpan().IndexOfAny(" \t\"") >= 0 || !Ascii.IsValid(key))
        {
            throw Fail(Fault.Corrupt, at, $"the line {Shorten(line)} is neither comment, entry nor extent");
        }

        bool decisive = DecisiveKeys.Contains(key, StringComparer.OrdinalIgnoreCase);
        string value = line[(equals + 1)..].Trim(' ', '\t');
        if (value.StartsWith('"'))
        {
            int close = value.IndexOf('"', 1);
            if (decisive && close != value.Length - 1)
            {
                throw Fail(Fault.Corrupt, at, $"the value of {Shorten(key)} is not one quoted string");
            }

            value = close < 0 ? value[1..] : value[1..close];
        }

        if (decisive && !_entries.TryAdd(key, value))
        {
            throw Fail(Fault.Corrupt, at, $"{key} is given twice");
        }
    }

    private void Interpret()
    {
        string version = Required("version");
        if (!uint.TryParse(version, NumberStyles.None, CultureInfo.InvariantCulture, out uint number) || number == 0)
        {
            throw Fail(Fault.Corrupt, 0, $"version is {Shorten(version)}");
        }

        if (_entries.TryGetValue("encoding", out string? encoding) && !encoding.Equals("UTF-8", StringComparison.OrdinalIgnoreCase))
        {
            _encoding = CodePage(encoding);
        }

        CreateType = Required("createType");
        Cid = Identifier("CID");
        ParentCid = Identifier("parentCID");
        ParentFileNameHint = _entries.TryGetValue("parentFileNameHint", out string? hint) ? Decode(hint, 0) : null;
        if (HasParent && string.IsNullOrEmpty(ParentFileNameHint))
        {
            throw Fail(Fault.MissingParent, 0, $"parentCID is {ParentCid:x8} but no parentFileNameHint names the parent");
        }

        if (!HasParent && ParentFileNameHint is not null)
        {
            throw Fail(Fault.Corrupt, 0, "parentFileNameHint is given but parentCID says that there is no parent");
        }
    }

    private string Required(string key) =>
        _entries.TryGetValue(key, out string? value) ? value : throw Fail(Fault.Corrupt, 0, $"{key} is missing");

    private uint Identifier(string key)
    {
        string text = Required(key);
        return text.Length <= 8 && uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint value)
            ? value
            : throw Fail(Fault.Corrupt, 0, $"{key} is {Shorten(text)}, not a hexadecimal number of 32 bits");
    }

    private void AddExtent(string line, int at)
    {
        string[] head = line.Split([' ', '\t'], 4, StringSplitOptions.RemoveEmptyEntries);
        if (head.Length < 3
            || !long.TryParse(head[1], NumberStyles.None, CultureInfo.InvariantCulture, out long sectors)
            || sectors == 0)
        {
            throw Fail(Fault.Corrupt, at, $"bad extent line {Shorten(line)}");
        }

        if (sectors > VmdkLimits.MostCapacitySectors)
        {
            throw Fail(Fault.Limit, at, $"an extent of {sectors} sectors");
        }

        if (!Types.TryGetValue(head[2], out ExtentType type))
        {
            throw Fail(Fault.Unsupported, at, $"extent type {Shorten(head[2])}");
        }

        if (head[0].Equals("NOACCESS", StringComparison.OrdinalIgnoreCase) && type != ExtentType.Zero)
        {
            throw Fail(Fault.Unsupported, at, $"an extent without access: {Shorten(line)}");
        }

        if (type == ExtentType.Zero)
        {
            _extents.Add(new DescriptorExtent(sectors, type, "", 0, at));
            return;
        }

        string rest = head.Length > 3 ? head[3].Trim(' ', '\t') : "";
        int close = rest.StartsWith('"') ? rest.IndexOf('"', 1) : -1;
        if (close <= 1)
        {
            throw Fail(Fault.Corrupt, at, $"an extent line without a quoted file name: {Shorten(line)}");
        }

        string name = Decode(rest[1..close], at);
        string[] tail = rest[(close + 1)..].Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        long offset = 0;

        // FLAT always has an offset; VMFS may; sparse extents have none. Partition and device ids that follow mean a host device.
        bool flat = type is ExtentType.Flat or ExtentType.Vmfs;
        if (tail.Length > 1)
        {
            throw Fail(Fault.Refused, at, $"an extent on a host device: {Shorten(line)}");
        }

        if (tail.Length == 1
            ? !flat || !long.TryParse(tail[0], NumberStyles.None, CultureInfo.InvariantCulture, out offset) || offset > VmdkLimits.MostCapacitySectors
            : type == ExtentType.Flat)
        {
            throw Fail(Fault.Corrupt, at, $"bad extent offset in {Shorten(line)}");
        }

        _extents.Add(new DescriptorExtent(sectors, type, name, offset, at));
    }

    private Encoding CodePage(string name)
    {
        try
        {
            return CodePagesEncodingProvider.Instance.GetEncoding(name, EncoderFallback.ExceptionFallback, DecoderFallback.ExceptionFallback)
                ?? throw Fail(Fault.Unsupported, 0, $"encoding {Shorten(name)}");
        }
        catch (ArgumentException)
        {
            throw Fail(Fault.Unsupported, 0, $"encoding {Shorten(name)}");
        }
    }

    private string Decode(string latin, int at)
    {
        try
        {
            return _encoding.GetString(Encoding.Latin1.GetBytes(latin));
        }
        catch (DecoderFallbackException)
        {
            throw Fail(Fault.Corrupt, at, "a file name is not valid in the descriptor's encoding");
        }
    }

    private DiskFormatException Fail(Fault fault, int at, string detail) => new(fault, Structure, _offset + at, detail);

    /// <summary>Guest text in messages, bounded.</summary>
    private static string Shorten(string text) => text.Length <= 80 ? text : text[..80] + "...";
}
