using System.Security.Cryptography;
using Konscious.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>What makes a key of a secret: PBKDF2 (RFC 8018 section 5.2), Argon2i or Argon2id version 1.3 (RFC 9106).</summary>
/// <param name="Kind"><c>pbkdf2</c>, <c>argon2i</c>, <c>argon2id</c>.</param>
/// <param name="Passes">Iterations of PBKDF2, passes of Argon2.</param>
/// <param name="Salt">As stored.</param>
/// <param name="Hash">Of PBKDF2.</param>
/// <param name="MemoryKiB">Of Argon2.</param>
/// <param name="Lanes">Of Argon2.</param>
internal sealed record KeyDerivation(string Kind, long Passes, byte[] Salt, string Hash = "", long MemoryKiB = 0, int Lanes = 0)
{
    public const string Pbkdf2 = "pbkdf2";
    public const string Argon2i = "argon2i";
    public const string Argon2id = "argon2id";

    public static readonly KeyDerivation None = new("", 0, []);

    /// <summary>RFC 9106 section 3.1: at least 8 bytes of salt are usual, and 8 KiB for each lane.</summary>
    private const int LeastArgon2Salt = 8;
    private const int LeastLaneKiB = 8;

    private bool IsPbkdf2 => Kind == Pbkdf2;

    private long MemoryBytes => MemoryKiB << 10;

    public override string ToString() => IsPbkdf2 ? $"{Kind} {Hash}, {Passes} iterations" : $"{Kind}, {MemoryKiB} KiB, {Passes} passes, {Lanes} lanes";

    /// <summary>Rejects what no implementation makes, so that nothing below has to. Says nothing of the cost.</summary>
    /// <exception cref="DiskFormatException">The parameters are wrong, or the function is not known here.</exception>
    public KeyDerivation Checked(string structure, long offset)
    {
        if (IsPbkdf2)
        {
            LuksHash.Of(Hash, structure, offset);
            return Passes > 0 ? this : throw new DiskFormatException(Fault.Corrupt, structure, offset, "bad iterations");
        }

        if (Kind is not (Argon2i or Argon2id))
        {
            throw new DiskFormatException(Fault.Unsupported, structure, offset, $"unsupported key derivation {Kind}");
        }

        if (Lanes > LuksLimits.MostArgon2Lanes)
        {
            throw new DiskFormatException(Fault.Limit, structure, offset, $"{Lanes} lanes of Argon2, the limit is {LuksLimits.MostArgon2Lanes}");
        }

        return Lanes > 0 && Passes is > 0 and <= int.MaxValue && MemoryKiB >= LeastLaneKiB * Lanes && MemoryKiB <= int.MaxValue && Salt.Length >= LeastArgon2Salt
            ? this
            : throw new DiskFormatException(Fault.Corrupt, structure, offset, "bad parameters of Argon2");
    }

    /// <summary>Derives a key.</summary>
    /// <param name="work">What may still be spent on the volume.</param>
    /// <exception cref="DiskFormatException"><see cref="Fault.Limit"/>: it costs more than one run may, or more than is left, in time or memory.</exception>
    public void Derive(ReadOnlySpan<byte> secret, Span<byte> key, KeyWork work, ScanBudget budget)
    {
        if (IsPbkdf2)
        {
            HashAlgorithmName hash = LuksHash.Of(Hash, "LUKS key derivation", -1);
            work.SpendIterations(Passes, (key.Length + LuksHash.Bytes(hash) - 1) / LuksHash.Bytes(hash));
            Rfc2898DeriveBytes.Pbkdf2(secret, Salt, key, (int)Passes, hash);
            return;
        }

        if (secret.IsEmpty)
        {
            throw new DiskFormatException(Fault.Unsupported, "LUKS key derivation", -1, "an empty secret is not tried with Argon2");
        }

        work.SpendArgon2(MemoryBytes, Passes);
        if (MemoryBytes > budget.CeilingBytes - budget.InUse - LuksLimits.MemoryHeadroomBytes)
        {
            throw new DiskFormatException(Fault.Limit, "memory", -1, $"Argon2 needs {MemoryKiB >> 10} MiB, of {budget.CeilingBytes >> 20} MiB {(budget.CeilingBytes - budget.InUse) >> 20} are free, of which {LuksLimits.MemoryHeadroomBytes >> 20} must stay so: give more memory");
        }

        using BudgetReservation memory = budget.Reserve(MemoryBytes);
        byte[] copy = secret.ToArray();
        using Argon2 argon2 = Kind == Argon2i ? new Argon2i(copy) : new Argon2id(copy);
        argon2.Salt = Salt;
        argon2.Iterations = (int)Passes;
        argon2.MemorySize = (int)MemoryKiB;
        argon2.DegreeOfParallelism = Lanes;
        try
        {
            byte[] made = argon2.GetBytes(key.Length);
            made.CopyTo(key);
            CryptographicOperations.ZeroMemory(made);
        }
        catch (Exception e) when (e is OutOfMemoryException || (e is AggregateException many && many.Flatten().InnerExceptions.All(i => i is OutOfMemoryException)))
        {
            // One array for each lane: what cannot be had leaves nothing half done.
            throw new DiskFormatException(Fault.Limit, "memory", -1, $"Argon2 needs {MemoryKiB >> 10} MiB, which could not be had");
        }
        finally
        {
            CryptographicOperations.ZeroMemory(copy);
        }
    }
}

/// <summary>What may still be spent on unlocking one volume.</summary>
internal sealed class KeyWork(LuksLimits limits)
{
    private long _iterations = limits.MostIterationsInAll;
    private long _argon2 = limits.MostArgon2WorkInAll;

    /// <param name="iterations">As the header says.</param>
    /// <param name="blocks">How often they are run: once for each hash that the key is long.</param>
    public void SpendIterations(long iterations, int blocks)
    {
        if (iterations > limits.MostIterations)
        {
            throw Over($"{iterations} iterations of PBKDF2, the limit is {limits.MostIterations}");
        }

        long cost = iterations * blocks;
        if (cost > _iterations)
        {
            throw Over($"all tries together pass {limits.MostIterationsInAll} iterations of PBKDF2");
        }

        _iterations -= cost;
    }

    public void SpendArgon2(long bytes, long passes)
    {
        if (bytes > limits.MostArgon2Bytes)
        {
            throw Over($"{bytes >> 20} MiB of memory for Argon2, the limit is {limits.MostArgon2Bytes >> 20} MiB");
        }

        if (passes > limits.MostArgon2Work / bytes)
        {
            throw Over($"{passes} passes of Argon2 over {bytes >> 10} KiB, the limit is {limits.MostArgon2Work >> 20} MiB in all");
        }

        if (bytes * passes > _argon2)
        {
            throw Over($"all tries together pass {limits.MostArgon2WorkInAll >> 20} MiB of Argon2");
        }

        _argon2 -= bytes * passes;
    }

    private static DiskFormatException Over(string detail) => new(Fault.Limit, "LUKS key derivation", -1, detail);
}
