using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory;

/// <summary>A stretch of guest-physical memory that an image holds.</summary>
/// <param name="Address">Guest-physical address of its first byte.</param>
public readonly record struct MemoryRun(long Address, long Length)
{
    public long End => Address + Length;
}

/// <summary>Memory whose place in the guest's physical addresses the image does not tell: of a graphics card, a ROM.</summary>
/// <param name="Name">As the image calls it. Guest-controlled text.</param>
public sealed record MemoryArea(string Name, IBlockSource Content);

/// <summary>The memory of a guest at one moment. Owns what it was made over but the image files.</summary>
public sealed class GuestMemoryImage : IDisposable
{
    /// <summary>Format and variant, such as <c>libvirt-save/gzip</c>.</summary>
    public required string Format { get; init; }

    /// <summary>Every byte at its guest-physical address. Outside <see cref="Runs"/> there are holes.</summary>
    public required IBlockSource Physical { get; init; }

    /// <summary>By address, apart from each other or at least not overlapping.</summary>
    public required IReadOnlyList<MemoryRun> Runs { get; init; }

    public IReadOnlyList<MemoryArea> Areas { get; init; } = [];

    /// <summary>What the processors' CR3 held, where the image tells it: tables of pages to begin with.</summary>
    public IReadOnlyList<ulong> PageTables { get; init; } = [];

    /// <summary>Things to know that are no gaps.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Disposed with this, in order.</summary>
    internal IReadOnlyList<IDisposable> Owned { get; init; } = [];

    /// <summary>Bytes of all runs and areas.</summary>
    public long SizeBytes => Runs.Sum(r => r.Length) + Areas.Sum(a => a.Content.Length);

    public void Dispose()
    {
        Physical.Dispose();
        foreach (IDisposable owned in Owned)
        {
            owned.Dispose();
        }
    }
}

/// <summary>A file that guest memory lies in.</summary>
/// <param name="Name">The host's name of it, for messages.</param>
/// <param name="Bytes">Owned by who opened it.</param>
public sealed record MemoryFile(string Name, IBlockSource Bytes);

/// <summary>A format of guest memory: recognises, opens.</summary>
internal interface IMemoryFormat
{
    FormatSupport Support { get; }

    /// <summary>True when the first file's own bytes say that it is of this format. Never throws for content.</summary>
    bool Probe(IReadOnlyList<MemoryFile> files);

    /// <summary>Opens the memory; what is not there is a gap.</summary>
    /// <exception cref="DiskFormatException">There is no memory that can be read.</exception>
    GuestMemoryImage Open(IReadOnlyList<MemoryFile> files, ReadContext context);
}
