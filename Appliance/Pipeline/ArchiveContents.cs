using System.Collections.Concurrent;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What the matching threads of one scan share about archives: budgets, memory, and the members that are known.</summary>
/// <param name="limits">For each content; null when archives are not opened.</param>
/// <param name="memoryBytes">For members, beside the memory for contents.</param>
/// <param name="mostBytes">Of all members of the scan: each content has budgets of its own, but a disk may hold a million bombs.</param>
/// <param name="onStep">Called as work is done.</param>
internal sealed class ArchiveContents(ArchiveLimits? limits, long memoryBytes, long mostBytes, Action onStep) : IDisposable
{
    /// <summary>Members worth remembering in one scan.</summary>
    private const int MostKnown = 200_000;

    private readonly ConcurrentDictionary<IReadOnlyList<IEngine>, KnownMembers> _known = new(ReferenceEqualityComparer.Instance);
    private long _bytesLeft = mostBytes;
    private long _unopened;

    public static ArchiveFormats Formats { get; } = new([.. ArchiveFormats.BuiltIn, new DiscFormat()]);

    public ArchiveLimits? Limits => limits;

    public MemberMemory Memory { get; } = new(memoryBytes);

    public Action OnStep => onStep;

    /// <summary>The members of all contents so far are more than a scan may take.</summary>
    public bool IsUsedUp => Interlocked.Read(ref _bytesLeft) <= 0;

    /// <summary>Contents that hold others and were not opened because nobody wanted it.</summary>
    public long Unopened => Interlocked.Read(ref _unopened);

    public void Spend(long bytes) => Interlocked.Add(ref _bytesLeft, -bytes);

    public void LeaveUnopened() => Interlocked.Increment(ref _unopened);

    /// <summary>What the engines said of a member before.</summary>
    public KnownMember? Find(IReadOnlyList<IEngine> engines, MemberKey key) => KnownBy(engines).Find(key);

    public void Keep(IReadOnlyList<IEngine> engines, MemberKey key, KnownMember member) => KnownBy(engines).Keep(key, member);

    /// <summary>How much the members of one disk's contents may be in all.</summary>
    public static long MostBytes(long imageBytes) => Saturating.Add(64L << 30, Math.Min(imageBytes, long.MaxValue / 16) * 16);

    /// <summary>Half of what contents have: with the dictionaries of the decoders, members rarely need more.</summary>
    public static long MemoryBytes(long contentBytes) => contentBytes / 2;

    /// <summary>All that members may take in a worker.</summary>
    public static long MostMemoryBytes(long contentBytes, int threads) => Math.Max(MemoryBytes(contentBytes), MemberMemory.SmallBytes) + (threads * MemberMemory.SmallBytes);

    public void Dispose() => Memory.Dispose();

    private KnownMembers KnownBy(IReadOnlyList<IEngine> engines) => _known.GetOrAdd(engines, _ => new());

    /// <summary>Counts by itself: the dictionary's own count takes all of its locks, which for each member costs more than to hash it.</summary>
    private sealed class KnownMembers
    {
        private readonly ConcurrentDictionary<MemberKey, KnownMember> _members = new();
        private int _count;

        public KnownMember? Find(MemberKey key) => _members.GetValueOrDefault(key);

        public void Keep(MemberKey key, KnownMember member)
        {
            if (Volatile.Read(ref _count) < MostKnown && _members.TryAdd(key, member))
            {
                Interlocked.Increment(ref _count);
            }
        }
    }
}

/// <summary>Identity of a member's content.</summary>
/// <param name="IsLeftOut">It was not given to the engines, which open themselves what it lies in.</param>
internal readonly record struct MemberKey(UInt128 High, UInt128 Low, long SizeBytes, bool IsLeftOut)
{
    public static MemberKey Of(ReadOnlySpan<byte> sha256, long sizeBytes, bool isLeftOut) =>
        new(System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(sha256), System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(sha256[16..]), sizeBytes, isLeftOut);

    /// <summary>The same content.</summary>
    public bool IsOf(MemberKey other) => this with { IsLeftOut = other.IsLeftOut } == other;
}

/// <summary>What matching a member and all inside of it gave.</summary>
/// <param name="Findings">With the way in from the member; none for the member itself.</param>
/// <param name="Gaps">The same.</param>
/// <param name="Members">How many lie inside.</param>
/// <param name="Bytes">Their bytes.</param>
/// <param name="Depth">How deep they lie in it.</param>
/// <param name="Ways">By which ways they came.</param>
internal sealed record KnownMember(IReadOnlyList<VerdictFinding> Findings, IReadOnlyList<VerdictGap> Gaps, int Members, long Bytes, int Depth, IReadOnlyCollection<string> Ways);

/// <summary>Matches the members of one content and collects what is found in them.</summary>
/// <param name="isUnread">The engines could not read the content itself, so that they are given every member.</param>
internal sealed class MemberMatching(ArchiveContents archives, ArchiveWalk walk, Engines engines, IMemberMatcher matcher, byte[]? contentSha256, bool isUnread) : IMemberConsumer
{
    /// <summary>Beyond, a hostile archive would fill the report.</summary>
    private const int MostFindings = 10_000;

    private readonly Stack<Frame> _frames = new();
    private bool _saidTooMany;

    public List<VerdictFinding> Findings { get; } = [];

    public List<VerdictGap> Gaps { get; } = [];

    public bool IsSettled { get; private set; } = true;

    /// <summary>By which ways members came, at all depths.</summary>
    public HashSet<string> Ways { get; } = new(StringComparer.Ordinal);

    public bool OnMember(IReadOnlyList<string> inside, ReadOnlySpan<byte> content, bool isPartial)
    {
        ContentHashes? hashes = (engines.KnowsMembers && !matcher.UsesNames) || engines.LooksUpHashes || ArchiveContents.Formats.IsArchive(content) ? engines.HashNeeds.Of(content) : null;
        Frame? outer = _frames.TryPeek(out Frame? top) ? top : null;
        bool isLeftOut = !(outer?.IsUnread ?? isUnread) && matcher.Opens(walk.Way);
        AddWay(outer, walk.Way);
        var frame = new Frame(
            outer, hashes is null || isPartial || matcher.UsesNames ? null : MemberKey.Of(hashes.Sha256, content.Length, isLeftOut), inside.Count, Findings.Count, Gaps.Count, walk.Members, walk.Bytes, walk.IsCut)
        {
            Deepest = walk.Depth,
        };
        // What lies round it is an archive, and so would it be.
        bool isOwnAncestor = hashes is not null && !isPartial && (hashes.Sha256.AsSpan().SequenceEqual(contentSha256) || _frames.Any(f => f.Key is { } key && frame.Key is { } own && key.IsOf(own)));
        _frames.Push(frame);
        if (isOwnAncestor)
        {
            // An archive that holds itself, for ever: what is in it is being matched already.
            frame.Key = null;
            return false;
        }

        if (frame.Key is { } known && archives.Find(engines.ByContent, known) is { } earlier && walk.TryCharge(earlier.Members, earlier.Bytes, earlier.Depth))
        {
            Take(earlier, inside, hashes!, content.Length);
            foreach (string way in earlier.Ways)
            {
                AddWay(outer, way);
            }

            frame.Key = null;
            frame.Deepest = walk.Depth + earlier.Depth;
            return false;
        }

        ContentHashes? whole = isPartial ? null : hashes;
        bool isKnownGood = whole is not null && engines.IsKnownGood(whole);
        if (!isKnownGood && !isLeftOut)
        {
            Match(inside, content, whole, isPartial);
        }

        if (whole is not null && engines.Hashes?.TryMatch(whole.Sha256, whole.Sha1, whole.Md5) is { } listed)
        {
            Add(new VerdictFinding(listed, new InnerContent([.. inside], whole.Hex, content.Length)));
        }

        return !isKnownGood;
    }

    /// <summary>What has a way has it in all that it lies in.</summary>
    private void AddWay(Frame? frame, string way)
    {
        for (; frame is not null; frame = frame.Outer)
        {
            frame.Ways.Add(way);
        }

        Ways.Add(way);
    }

    public void OnLeave()
    {
        Frame frame = _frames.Pop();
        if (_frames.TryPeek(out Frame? outer))
        {
            outer.Deepest = Math.Max(outer.Deepest, frame.Deepest);
            outer.IsUnsettled |= frame.IsUnsettled;
        }

        if (frame.Key is { } key && !frame.IsUnsettled && walk.IsCut == frame.WasCut && !_saidTooMany)
        {
            archives.Keep(engines.ByContent, key, new KnownMember(
                [.. Findings.Skip(frame.Findings).Select(f => f with { Inner = f.Inner! with { Inside = [.. f.Inner.Inside.Skip(frame.Names)] } })],
                [.. Gaps.Skip(frame.Gaps).Select(g => g with { Inside = [.. g.Inside.Skip(frame.Names)] })],
                walk.Members - frame.Members,
                walk.Bytes - frame.Bytes,
                frame.Deepest - frame.Names,
                frame.Ways));
        }
    }

    public void OnGap(IReadOnlyList<string> inside, ArchiveFault fault, string part, long offset, long bytes, string detail) =>
        Gaps.Add(new VerdictGap(FaultOf(fault), part, offset, bytes, detail, [.. inside]));

    internal static Fault FaultOf(ArchiveFault fault) => fault switch
    {
        ArchiveFault.Corrupt => Fault.Corrupt,
        ArchiveFault.Truncated => Fault.Truncated,
        ArchiveFault.Encrypted => Fault.Encrypted,
        ArchiveFault.Limit => Fault.Limit,
        ArchiveFault.Timeout => Fault.Timeout,
        _ => Fault.Unsupported,
    };

    private void Match(IReadOnlyList<string> inside, ReadOnlySpan<byte> content, ContentHashes? hashes, bool isPartial)
    {
        Verdict verdict = matcher.MatchMember(content, inside);
        if (verdict.Findings.Count > 0 || verdict.Gaps.Count > 0)
        {
            string[] way = [.. inside];
            string sha256 = isPartial || verdict.Findings.Count == 0 ? "" : (hashes ?? HashNeeds.Sha256Only.Of(content)).Hex;
            foreach (VerdictFinding finding in verdict.Findings)
            {
                Add(finding with { Inner = new InnerContent(way, sha256, content.Length) });
            }

            Gaps.AddRange(verdict.Gaps.Select(g => g with { Inside = way }));
        }

        IsSettled &= verdict.IsSettled;
        _frames.Peek().IsUnsettled |= !verdict.IsSettled;
        _frames.Peek().IsUnread = ContentMatcher.IsUnread(verdict);
    }

    private void Take(KnownMember known, IReadOnlyList<string> inside, ContentHashes hashes, long sizeBytes)
    {
        foreach (VerdictFinding finding in known.Findings)
        {
            InnerContent inner = finding.Inner!;
            Add(finding with { Inner = inner.Inside.Count == 0 ? new InnerContent([.. inside], hashes.Hex, sizeBytes) : inner with { Inside = [.. inside, .. inner.Inside] } });
        }

        Gaps.AddRange(known.Gaps.Select(g => g with { Inside = [.. inside, .. g.Inside] }));
    }

    private void Add(VerdictFinding finding)
    {
        if (Findings.Count < MostFindings)
        {
            Findings.Add(finding);
        }
        else if (!_saidTooMany)
        {
            _saidTooMany = true;
            Gaps.Add(new VerdictGap(Fault.Limit, "findings", -1, 0, $"more than {MostFindings} findings in one content; no more are listed", []));
        }
    }

    private sealed class Frame(Frame? outer, MemberKey? key, int names, int findings, int gaps, int members, long bytes, bool wasCut)
    {
        private HashSet<string>? _ways;

        public Frame? Outer => outer;

        /// <summary>By which ways members inside of it came.</summary>
        public HashSet<string> Ways => _ways ??= new(StringComparer.Ordinal);

        /// <summary>The engines could not read it whole: what is inside is given to them by itself.</summary>
        public bool IsUnread { get; set; }

        public MemberKey? Key { get; set; } = key;

        public int Names => names;

        public int Findings => findings;

        public int Gaps => gaps;

        public int Members => members;

        public long Bytes => bytes;

        public bool WasCut => wasCut;

        public int Deepest { get; set; }

        public bool IsUnsettled { get; set; }
    }
}

/// <summary>Matches one member, as the outermost content was matched.</summary>
internal interface IMemberMatcher
{
    bool UsesNames { get; }

    /// <summary>Whether every engine opens this way itself.</summary>
    bool Opens(string way);

    Verdict MatchMember(ReadOnlySpan<byte> content, IReadOnlyList<string> inside);
}
