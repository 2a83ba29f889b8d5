namespace Vmsweep.DiskReaders.Blocks;

/// <summary>
/// What the operator gave to unlock encrypted volumes: passwords, recovery keys, key files, master keys. Each reader tries those
/// that have a form it knows.
/// </summary>
/// <param name="values">Raw bytes of each secret, without the line end it had in a list.</param>
public sealed class UnlockSecrets(IReadOnlyList<byte[]> values)
{
    public static readonly UnlockSecrets None = new([]);

    public IReadOnlyList<byte[]> Values { get; } = values;
}
