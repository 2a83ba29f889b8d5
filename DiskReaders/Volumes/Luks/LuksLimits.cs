namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>What a header may ask of this machine. Each has the reason beside it; tests set lower costs.</summary>
internal sealed record LuksLimits
{
    public static readonly LuksLimits Default = new();

    /// <summary>LUKS2: 32 key slots, tokens, digests and segments each. LUKS1 has 8 slots.</summary>
    public const int MostObjects = 32;

    /// <summary>Values in a JSON area. A header with 32 of everything has some 2000.</summary>
    public const int MostJsonTokens = 65_536;

    /// <summary>The specification's objects nest 4 deep; tokens of others may hold more.</summary>
    public const int MostJsonDepth = 32;

    /// <summary>The largest key of the Linux crypto API's ciphers with room for an integrity key.</summary>
    public const int MostKeyBytes = 512;

    /// <summary>A key split into 4000 stripes has 256 KiB at 512 bits; <see cref="MostKeyBytes"/> in 4000 stripes are 2 MiB.</summary>
    public const int MostSplitBytes = 4 << 20;

    /// <summary>RFC 9106 allows 2^24 lanes, each a thread here; cryptsetup uses at most 4.</summary>
    public const int MostArgon2Lanes = 64;

    /// <summary>What the rest of a worker needs beside Argon2's memory.</summary>
    public const long MemoryHeadroomBytes = 32 << 20;

    /// <summary>PBKDF2 iterations of one slot or digest: the limit of OpenStack's format inspector, some 5 seconds.</summary>
    public long MostIterations { get; init; } = 12_000_000;

    /// <summary>PBKDF2 iterations of all tries on one volume: about a minute.</summary>
    public long MostIterationsInAll { get; init; } = 150_000_000;

    /// <summary>Memory of one Argon2 run: what cryptsetup takes at most unless it is told otherwise.</summary>
    public long MostArgon2Bytes { get; init; } = 1L << 30;

    /// <summary>Memory times passes of one Argon2 run: four times what cryptsetup's benchmark picks on a fast machine, some 15 seconds.</summary>
    public long MostArgon2Work { get; init; } = 16L << 30;

    /// <summary>Memory times passes of all tries on one volume: about a minute.</summary>
    public long MostArgon2WorkInAll { get; init; } = 64L << 30;
}
