using System.Security.Cryptography;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>What a walk over one content gave.</summary>
internal sealed class Opened : IMemberConsumer
{
    private readonly List<string> _way = [];
    private bool _keep;

    /// <summary>Names with <c> > </c> between them, SHA-256, and whether the member is whole.</summary>
    public List<(string Inside, string Sha256, int Length, bool IsPartial)> Members { get; } = [];

    public List<(string Inside, ArchiveFault Fault, string Structure, string Detail)> Gaps { get; } = [];

    public Dictionary<string, byte[]> Contents { get; } = [];

    /// <summary>For each member the way it came, and those of what it lies in, outermost first.</summary>
    public List<string[]> Ways { get; } = [];

    public ArchiveWalk Walk { get; private set; } = null!;

    public int Left { get; private set; }

    public IEnumerable<string> Names => Members.Select(m => m.Inside);

    public static Opened Of(byte[] content, ArchiveLimits? limits = null, long memory = 64 << 20, bool keep = false, Action? onStep = null)
    {
        using var shared = new MemberMemory(memory);
        var opened = new Opened { _keep = keep };
        opened.Walk = ArchiveWalk.Open(content, limits ?? new ArchiveLimits(), ArchiveFormats.All, shared, w => opened.Begin(w), onStep ?? (() => { }), TestContext.Current.CancellationToken);
        Assert.True(opened.Walk.IsCut ? opened.Left <= opened.Members.Count : opened.Left == opened.Members.Count, $"{opened.Left} of {opened.Members.Count} were left");
        return opened;
    }

    private Opened Begin(ArchiveWalk walk)
    {
        Walk = walk;
        return this;
    }

    public bool OnMember(IReadOnlyList<string> inside, ReadOnlySpan<byte> content, bool isPartial)
    {
        string name = string.Join(" > ", inside);
        Members.Add((name, Convert.ToHexStringLower(SHA256.HashData(content)), content.Length, isPartial));
        _way.Add(Walk.Way);
        Ways.Add([.. _way]);
        if (_keep)
        {
            Contents[name] = content.ToArray();
        }

        return true;
    }

    public void OnLeave()
    {
        Left++;
        _way.RemoveAt(_way.Count - 1);
    }

    public void OnGap(IReadOnlyList<string> inside, ArchiveFault fault, string part, long offset, long bytes, string detail) =>
        Gaps.Add((string.Join(" > ", inside), fault, part, detail));

    public override string ToString() => string.Join('\n', [.. Members.Select(m => m.ToString()), .. Gaps.Select(g => g.ToString())]);
}
