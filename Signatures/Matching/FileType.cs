namespace Vmsweep.Signatures.Matching;

/// <summary>A kind of content that can be told by its first bytes.</summary>
public sealed class FileType
{
    private readonly byte[] _magic;
    private readonly HeadTest? _also;
    private readonly int _least;

    /// <param name="name">As rules have it.</param>
    /// <param name="magic">What it begins with.</param>
    /// <param name="at">Where that stands.</param>
    /// <param name="also">What must be true beside.</param>
    /// <param name="least">Bytes that <paramref name="also"/> needs.</param>
    internal FileType(string name, ReadOnlySpan<byte> magic, int at = 0, HeadTest? also = null, int least = 0)
    {
        Name = name;
        _magic = magic.ToArray();
        At = at;
        _also = also;
        _least = Math.Max(least, at + magic.Length);
    }

    internal delegate bool HeadTest(ReadOnlySpan<byte> head);

    public string Name { get; }

    public int At { get; }

    public ReadOnlySpan<byte> Magic => _magic;

    public bool Fits(ReadOnlySpan<byte> head) => head.Length >= _least && head.Slice(At, _magic.Length).SequenceEqual(_magic) && (_also is null || _also(head));
}
