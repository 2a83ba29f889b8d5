namespace Vmsweep.DiskReaders.Blocks.Crypto;

/// <summary>Decrypts sectors that are encrypted each by itself, under its number. Safe for many threads; holds keys until it is disposed.</summary>
internal interface ISectorCipher : IDisposable
{
    /// <summary>Bytes encrypted under one number.</summary>
    int SectorBytes { get; }

    /// <summary>Decrypts in place.</summary>
    /// <param name="sector">Number of the first sector, in units of <see cref="SectorBytes"/>.</param>
    /// <param name="data">Whole sectors that follow each other.</param>
    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: no memory to work in.</exception>
    void Decrypt(long sector, Span<byte> data);
}
