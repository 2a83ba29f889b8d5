namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Something known by its signature that no reader here opens, so that its bytes become a named gap.</summary>
/// <param name="Name">Short name in lower case: <c>qcow2</c>, <c>lvm2</c>, <c>xfs</c>.</param>
/// <param name="Fault"><see cref="Fault.Unsupported"/>, or <see cref="Fault.Encrypted"/> where a key would be needed.</param>
/// <param name="Detail">For people: the full name, with version or variant where the bytes tell it.</param>
public sealed record Recognised(string Name, Fault Fault, string Detail);

/// <summary>One way to know a format: bytes at an offset.</summary>
/// <param name="Offset">From the start; from the end when negative.</param>
internal sealed record Signature(string Name, string Detail, long Offset, byte[] Bytes, Fault Fault = Fault.Unsupported)
{
    public Recognised ToRecognised() => new(Name, Fault, Detail);

    public static Signature Of(string name, string detail, long offset, ReadOnlySpan<byte> bytes, Fault fault = Fault.Unsupported) =>
        new(name, detail, offset, bytes.ToArray(), fault);

    /// <summary>The first of a table that fits; null when none does. Unreadable bytes fit nothing.</summary>
    public static Recognised? Find(IBlockSource source, IReadOnlyList<Signature> table)
    {
        foreach (Signature signature in table)
        {
            if (source.HasAt(signature.Offset, signature.Bytes))
            {
                return signature.ToRecognised();
            }
        }

        return null;
    }
}

/// <summary>Reads of a few bytes where a signature may lie.</summary>
internal static class SignatureReads
{
    private const int Most = 64;

    /// <summary>True when the bytes lie at the offset; from the end when it is negative.</summary>
    public static bool HasAt(this IBlockSource source, long offset, ReadOnlySpan<byte> wanted)
    {
        Span<byte> found = stackalloc byte[Most];
        found = found[..wanted.Length];
        return source.TryRead(offset, found) && found.SequenceEqual(wanted);
    }

    /// <summary>Fills <paramref name="destination"/>; false when it does not lie within the source or cannot be read.</summary>
    public static bool TryRead(this IBlockSource source, long offset, Span<byte> destination)
    {
        offset = offset < 0 ? source.Length + offset : offset;
        if (offset < 0 || offset > source.Length - destination.Length)
        {
            return false;
        }

        try
        {
            source.Read(offset, destination);
            return true;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }
}
