namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What a scan that holds back passes before each read of stored bytes, and is told by how long the storage took. Safe for many threads.</summary>
public interface IReadGate
{
    /// <summary>Returns when the bytes may be asked for.</summary>
    /// <param name="file">As <see cref="StoredExtent.File"/> names it.</param>
    void Enter(int file, int bytes);

    /// <summary>The bytes came.</summary>
    /// <param name="took">From asking to the last byte; what was waited for in <see cref="Enter"/> is no part of it.</param>
    void Leave(int file, int bytes, TimeSpan took);
}
