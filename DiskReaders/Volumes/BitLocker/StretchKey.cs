using System.Buffers.Binary;
using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>Makes the key of a password: 2^20 rounds of SHA-256, as the format fixes them ("Recovery key", "User key").</summary>
internal static class StretchKey
{
    public const int KeyBytes = SHA256.HashSizeInBytes;

    private const ulong Rounds = 0x10_0000;
    private const int RoundsBetweenLooks = 0x4000;

    /// <param name="initial">SHA-256 of a recovery password's bits; twice SHA-256 of a password.</param>
    /// <param name="salt">16 bytes.</param>
    /// <param name="key">32 bytes.</param>
    /// <param name="context">Ends it.</param>
    public static void Compute(ReadOnlySpan<byte> initial, ReadOnlySpan<byte> salt, Span<byte> key, ReadContext context)
    {
        // The last hash, the initial hash, the salt, the count.
        Span<byte> state = stackalloc byte[KeyBytes + KeyBytes + 16 + 8];
        state.Clear();
        initial.CopyTo(state[KeyBytes..]);
        salt.CopyTo(state[(2 * KeyBytes)..]);
        Span<byte> last = state[..KeyBytes];
        Span<byte> count = state[^8..];
        for (ulong round = 0; round < Rounds; round++)
        {
            if (round % RoundsBetweenLooks == 0)
            {
                context.ThrowIfCancelled();
            }

            BinaryPrimitives.WriteUInt64LittleEndian(count, round);
            SHA256.HashData(state, last);
        }

        last.CopyTo(key);
        CryptographicOperations.ZeroMemory(state);
    }
}
