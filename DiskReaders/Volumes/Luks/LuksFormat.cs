using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>
/// Linux Unified Key Setup, versions 1 and 2: each member is a volume of its own. Specs: LUKS1 On-Disk Format 1.2.3, LUKS2 On-Disk
/// Format 1.1. Ciphers are named as dm-crypt names them.
/// </summary>
public sealed class LuksFormat : IVolumeFormat
{
    private readonly LuksLimits _limits;

    public LuksFormat()
        : this(LuksLimits.Default)
    {
    }

    /// <param name="limits">What unlocking may cost.</param>
    internal LuksFormat(LuksLimits limits) => _limits = limits;

    public string Name => "luks";

    public FormatSupport Support { get; } = new(
        "LUKS1, LUKS2",
        "AES in XTS, CBC and ECB, PBKDF2, Argon2i and Argon2id, sectors of 512 to 4096 bytes; unlocked by passphrase, key file or master:HEX",
        "locked volumes, with their key slots; other ciphers, integrity, reencryption, absurd costs");

    private static ReadOnlySpan<byte> FirstMagic => [0x4C, 0x55, 0x4B, 0x53, 0xBA, 0xBE];

    private static ReadOnlySpan<byte> SecondMagic => [0x53, 0x4B, 0x55, 0x4C, 0xBA, 0xBE];

    public bool Probe(IBlockSource content)
    {
        Span<byte> start = stackalloc byte[8];
        return content.TryRead(0, start) && (IsFirst(start, 1) || IsFirst(start, 2) || Luks2Headers.IsBySecond(content));
    }

    public VolumeAssembly Assemble(IReadOnlyList<VolumeMember> members, ReadContext context)
    {
        List<AssembledVolume> volumes = [];
        List<MemberArea> leftovers = [];
        try
        {
            for (int i = 0; i < members.Count; i++)
            {
                context.ThrowIfCancelled();
                volumes.Add(Open(members[i], i, leftovers, context));
            }
        }
        catch
        {
            volumes.ForEach(v => v.Dispose());
            throw;
        }

        return new VolumeAssembly(volumes, leftovers);
    }

    /// <summary>
    /// The plaintext of data that another format keeps apart from their header, as qcow2 does, or behind it, as QEMU's luks driver:
    /// QEMU knows version 1 only. Sectors are numbered from the data's first byte.
    /// </summary>
    /// <param name="header">A LUKS1 header with its key material.</param>
    /// <param name="payload">The data; null where they lie behind the header. Not disposed with the answer.</param>
    /// <exception cref="DiskFormatException"><see cref="Fault.Encrypted"/>: no secret fits; or the header is faulty.</exception>
    public static IBlockSource OpenPayload(IBlockSource header, IBlockSource? payload, ReadContext context) =>
        OpenPayload(header, payload, LuksLimits.Default, context);

    internal static IBlockSource OpenPayload(IBlockSource header, IBlockSource? payload, LuksLimits limits, ReadContext context)
    {
        LuksHeader read = Luks1Header.Read(header, hasPayload: payload is null);
        Check(read);
        List<PlacedSegment> segments = payload is null ? Place(read, header) : [new PlacedSegment(read.Segments[0] with { Offset = 0 }, payload.Length)];
        using VolumeKeys keys = Keys(read, header, limits, context, "");
        return SegmentMap.Open(read, segments, payload ?? header, keys, context);
    }

    internal static bool IsFirst(ReadOnlySpan<byte> bytes, byte version) => bytes.StartsWith(FirstMagic) && bytes[6] == 0 && bytes[7] == version;

    internal static bool IsSecond(ReadOnlySpan<byte> bytes) => bytes.StartsWith(SecondMagic) && bytes[6] == 0 && bytes[7] == 2;

    private AssembledVolume Open(VolumeMember member, int place, List<MemberArea> leftovers, ReadContext context)
    {
        LuksHeader? header = null;
        try
        {
            header = ReadHeader(member, context);
            Check(header);
            List<PlacedSegment> segments = Place(header, member.Content);
            leftovers.AddRange(Outside(segments, member, place));
            using VolumeKeys keys = Keys(header, member.Content, _limits, context, member.Name);
            if (keys.OpenedBy.Count > 0)
            {
                header.Notes.Add("opened by " + string.Join(", ", keys.OpenedBy.Distinct()));
            }

            return Volume(header, place, member) with
            {
                Content = SegmentMap.Open(header, segments, member.Content, keys, context),
                SectorBytes = Math.Max(member.SectorBytes, segments.Max(s => s.Segment.SectorBytes)),
            };
        }
        catch (DiskFormatException e)
        {
            return Volume(header, place, member) with { Fault = e };
        }
    }

    private static AssembledVolume Volume(LuksHeader? header, int place, VolumeMember member) => new()
    {
        Name = header?.Label ?? "",
        Layout = header?.Describe() ?? "luks",
        Place = place,
        SectorBytes = member.SectorBytes,
        Notes = header is null ? [] : [.. header.Notes, .. header.Tokens.Select(t => $"token {t}")],
    };

    private static LuksHeader ReadHeader(VolumeMember member, ReadContext context)
    {
        Span<byte> start = stackalloc byte[8];
        return member.Content.TryRead(0, start) && IsFirst(start, 1)
            ? Luks1Header.Read(member.Content, hasPayload: true)
            : Luks2Headers.Read(member.Content, member.Name, context);
    }

    /// <summary>Faults that no key mends come before asking for one.</summary>
    private static void Check(LuksHeader header)
    {
        if (header.Fault is { } fault)
        {
            throw new DiskFormatException(fault.Fault, fault.Structure, fault.Offset, $"{fault.Detail} ({Identity(header)})");
        }

        foreach (LuksSegment segment in header.Segments.Where(s => !s.IsPlain))
        {
            LuksDigest digest = header.DigestOf(segment) ?? throw Bad(Fault.Corrupt, $"segment {segment.Number} has no digest: its key cannot be told from a wrong one");
            if (LuksCipher.FaultOf(segment.Encryption!, header.KeyBytesOf(digest), "LUKS segment", -1) is { } unsupported)
            {
                throw new DiskFormatException(unsupported.Fault, unsupported.Structure, -1, $"{unsupported.Detail} ({Identity(header)})");
            }
        }
    }

    /// <summary>Holds the segments against the device.</summary>
    private static List<PlacedSegment> Place(LuksHeader header, IBlockSource content)
    {
        List<PlacedSegment> placed = [];
        long length = content.Length;
        foreach (LuksSegment segment in header.Segments)
        {
            if (segment.Offset == 0)
            {
                throw Bad(Fault.MissingParent, $"this is a detached header: its data lie on another device ({Identity(header)})");
            }

            if (segment.Offset < header.EndOfMetadata)
            {
                throw Bad(Fault.Corrupt, $"segment {segment.Number} begins at {segment.Offset}, before the metadata end at {header.EndOfMetadata}");
            }

            if (segment.Offset >= length || segment.Size > length - segment.Offset)
            {
                throw Bad(Fault.Truncated, $"segment {segment.Number} begins at {segment.Offset}{(segment.Size is { } size ? $" with {size} bytes" : "")}, the device has {length}: cut off, or a copy of the header alone");
            }

            if (segment.Size is null && placed.Count < header.Segments.Count - 1)
            {
                throw Bad(Fault.Corrupt, $"segment {segment.Number} reaches to the end and is not the last");
            }

            // What is left of a last sector cannot be decrypted; it becomes a leftover.
            long bytes = segment.Size ?? (length - segment.Offset) / segment.SectorBytes * segment.SectorBytes;
            if (placed.Exists(p => segment.Offset < p.End && p.Segment.Offset < segment.Offset + bytes))
            {
                throw Bad(Fault.Corrupt, $"segment {segment.Number} overlaps another one");
            }

            placed.Add(new PlacedSegment(segment, bytes));
        }

        return placed.Count > 0 && placed.Exists(p => p.Bytes > 0) ? placed : throw Bad(Fault.Corrupt, "there is no segment");
    }

    /// <summary>What no segment shows: header and key slots first.</summary>
    private static IEnumerable<MemberArea> Outside(List<PlacedSegment> segments, VolumeMember member, int place)
    {
        long at = 0;
        foreach (PlacedSegment segment in segments.OrderBy(s => s.Segment.Offset))
        {
            if (segment.Segment.Offset > at)
            {
                yield return new MemberArea(place, at == 0 ? "luks-header" : "luks-unused", at, segment.Segment.Offset - at);
            }

            at = segment.End;
        }

        if (at < member.Content.Length)
        {
            yield return new MemberArea(place, "luks-unused", at, member.Content.Length - at);
        }
    }

    private static VolumeKeys Keys(LuksHeader header, IBlockSource content, LuksLimits limits, ReadContext context, string name)
    {
        VolumeKeys keys = new LuksUnlocker(header, content, limits, context).Unlock();
        if (header.NeededDigests.All(keys.Has))
        {
            return keys;
        }

        keys.NotTried.ForEach(e => context.Gaps.Add(new CoverageGap(e, name, 0)));
        keys.Dispose();
        throw Bad(Fault.Encrypted, Locked(header, context.Secrets.Values.Count));
    }

    private static string Locked(LuksHeader header, int secrets)
    {
        string slots = header.Slots.Count == 0 ? "no key slot is in use" : "key slots " + string.Join(", ", header.Slots);
        string tokens = header.Tokens.Count == 0 ? "" : "; tokens " + string.Join(", ", header.Tokens);
        string given = secrets switch
        {
            0 => "give a passphrase, a key file or master:HEX by --key",
            1 => "the secret given by --key does not fit",
            _ => $"none of the {secrets} secrets given by --key fits",
        };
        return $"{Identity(header)}; {slots}{tokens}; {given}";
    }

    private static string Identity(LuksHeader header) =>
        $"LUKS{header.Version} {header.Uuid}{(header.Label.Length > 0 ? $" \"{header.Label}\"" : "")}, {header.Describe()}";

    private static DiskFormatException Bad(Fault fault, string detail) => new(fault, "LUKS", 0, detail);
}
