using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Archives;

/// <summary>A format of contents that hold other contents. Immutable; shared by all threads.</summary>
public interface IArchiveFormat
{
    /// <summary>Lower case, such as <c>zip</c>.</summary>
    string Name { get; }

    /// <summary>What it may begin with; empty where it can be told by what lies elsewhere, so that it is asked for every content.</summary>
    IReadOnlyList<FileType> Types => [];

    /// <summary>
    /// True when the bytes prove the format: more than two equal bytes, so that what looks like an archive by chance is no gap. Quick: called
    /// for every content that begins with one of <see cref="Types"/>.
    /// </summary>
    bool Fits(ReadOnlySpan<byte> content);

    /// <summary>Hands every member to <paramref name="sink"/>, in the order in which they are cheapest to read.</summary>
    /// <exception cref="ArchiveException">What follows cannot be read; the members before it were given.</exception>
    void Read(ReadOnlyMemory<byte> content, IMemberSink sink);
}

/// <summary>Takes the members of one archive, under the budgets of the walk. Its exceptions pass through formats.</summary>
public interface IMemberSink
{
    /// <summary>Tried on what is encrypted.</summary>
    IReadOnlyList<string> Passwords { get; }

    /// <summary>Called in every loop that may be long and gives no member: checks time and cancellation.</summary>
    void Tick();

    /// <summary>A member whose bytes lie in the archive as they are.</summary>
    /// <param name="packing">As of <see cref="Packed"/>.</param>
    void Stored(string name, ReadOnlyMemory<byte> content, string packing = "");

    /// <summary>A member that is read through a stream. What the stream throws is a gap of this member; the archive goes on.</summary>
    /// <param name="name">As the archive has it; a name that is not from the archive stands in parentheses.</param>
    /// <param name="sizeBytes">What the archive declares; -1 where it does not. Never trusted.</param>
    /// <param name="open">Opens the stream, once; where <paramref name="canReopen"/> again from the start.</param>
    /// <param name="canReopen">Whether <paramref name="open"/> may be called twice.</param>
    /// <param name="packing">How, where it is not the way that every program unpacks: engines that open archives too may not have met it.</param>
    void Packed(string name, long sizeBytes, Func<Stream> open, bool canReopen = false, string packing = "");

    /// <summary>Something that was not read.</summary>
    /// <param name="fault">Why.</param>
    /// <param name="part">The structure at fault.</param>
    /// <param name="offset">In the archive; -1 where none fits.</param>
    /// <param name="bytes">Not read; 0 when not known.</param>
    /// <param name="detail">For people.</param>
    /// <param name="member">The member concerned; null for the archive itself.</param>
    void Gap(ArchiveFault fault, string part, long offset, long bytes, string detail, string? member = null);

    /// <summary>Memory that a decoder needs by what the archive declares, until it is disposed.</summary>
    /// <exception cref="ArchiveException">It is over the limit.</exception>
    IDisposable Reserve(long bytes, string part);
}

/// <summary>What becomes of members.</summary>
public interface IMemberConsumer
{
    /// <summary>A member, after the archive it lies in. Its bytes are valid during the call, and what is opened inside of it comes before <see cref="OnLeave"/>.</summary>
    /// <param name="inside">Names from the outermost member to this one; copied by who keeps it.</param>
    /// <param name="content">All that could be read of it.</param>
    /// <param name="isPartial">Something of it is missing, which is a gap already.</param>
    /// <returns>False when what is inside is known already, so that it is not opened.</returns>
    bool OnMember(IReadOnlyList<string> inside, ReadOnlySpan<byte> content, bool isPartial);

    /// <summary>The member and all inside of it are done.</summary>
    void OnLeave();

    /// <summary>Something was not read.</summary>
    /// <param name="inside">Names from the outermost member to the one concerned; empty for the content itself.</param>
    void OnGap(IReadOnlyList<string> inside, ArchiveFault fault, string part, long offset, long bytes, string detail);
}

/// <summary>Budgets for everything inside of one content.</summary>
public sealed record ArchiveLimits
{
    /// <summary>Archives in archives; a packed tar is two.</summary>
    public int Depth { get; init; } = 16;

    public int Members { get; init; } = 100_000;

    /// <summary>Of all members, at all depths.</summary>
    public long Bytes { get; init; } = 4L << 30;

    /// <summary>Bytes of all members for each byte of the content, where these are more than <see cref="FreeBytes"/>.</summary>
    public int Ratio { get; init; } = 1000;

    /// <summary>For unpacking; matching has its own time.</summary>
    public TimeSpan Time { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Passwords tried on encrypted members.</summary>
    public IReadOnlyList<string> Passwords { get; init; } = DefaultPasswords;

    /// <summary>What those who exchange samples use.</summary>
    public static IReadOnlyList<string> DefaultPasswords { get; } = ["infected", "virus", "malware"];

    /// <summary>Small contents of zeros or text may be packed very well.</summary>
    public const long FreeBytes = 64L << 20;
}
