using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>
/// What standard clusters are read from: the file itself, or what decrypts it. Spec: qcow2 "Data encryption" and "Full disk encryption
/// header pointer". Metadata and compressed clusters are never encrypted.
/// </summary>
internal sealed class DataClusters : IDisposable
{
    private const string Structure = "qcow2 header";
    private const int CryptMethodAt = 32;
    private const int SectorBytes = 512;

    /// <summary>"Key ... of 128 bits": QEMU block/crypto takes the passphrase's first 16 bytes, zeros behind a shorter one.</summary>
    private const int AesKeyBytes = 16;

    /// <summary>So much stored data is looked at to tell a right AES passphrase from a wrong one.</summary>
    private const long MostSampleBytes = 16 << 20;
    private const int MostSampleExtents = 4096;
    private const int SampleBytes = 64 << 10;

    private readonly IDisposable? _owned;

    private DataClusters(IExtentMap map, IBlockSource source, string variant, IDisposable? owned)
    {
        Map = map;
        Source = source;
        Variant = variant;
        _owned = owned;
    }

    /// <summary>The image's map, with data where <see cref="Source"/> has them.</summary>
    public IExtentMap Map { get; }

    public IBlockSource Source { get; }

    /// <summary>What the disk's format is called more: <c>/luks</c>, <c>/aes</c>.</summary>
    public string Variant { get; }

    /// <param name="data">The file that holds the clusters; not disposed with this.</param>
    public static DataClusters Open(ImageFile file, Qcow2Header header, IBlockSource data, Qcow2Map map, IChainOpener chain, ReadContext context)
    {
        switch (header.CryptMethod)
        {
            case 0:
                return new DataClusters(map, data, "", null);
            case 1:
                IBlockSource plain = OpenAes(file.Name, data, map, context);
                return new DataClusters(new GuestPlaces(map), plain, "/aes", plain);
            case 2:
                // Sectors are numbered by where they lie in the file, so that all of it is one payload.
                (long offset, long length) = header.Extensions.EncryptionHeader
                    ?? throw new DiskFormatException(Fault.Corrupt, Structure, CryptMethodAt, "the image is encrypted with LUKS and names no header of it");
                IBlockSource unlocked = chain.OpenLuks(new SliceSource(file.Bytes, offset, length, "qcow2 full disk encryption header"), data);
                return new DataClusters(map, unlocked, "/luks", unlocked);
            default:
                throw new DiskFormatException(Fault.Unsupported, Structure, CryptMethodAt, $"unsupported crypt_method {header.CryptMethod}");
        }
    }

    public void Dispose() => _owned?.Dispose();

    /// <summary>
    /// The old method, AES-CBC with the guest's sector number: it keeps nothing by which a passphrase is known to be right. Under a wrong
    /// one everything is noise; any disk has runs of equal bytes.
    /// </summary>
    private static SectorCipherSource OpenAes(string name, IBlockSource data, Qcow2Map map, ReadContext context)
    {
        foreach (byte[] secret in context.Secrets.Values)
        {
            SectorCipherSource source = Decrypting(secret, data, map, context);
            try
            {
                if (LooksLikeData(source, map, context))
                {
                    return source;
                }
            }
            catch
            {
                source.Dispose();
                throw;
            }

            source.Dispose();
        }

        string given = context.Secrets.Values.Count == 0 ? "give the passphrase by --key" : "under no secret given by --key its content looks like data";
        throw new DiskFormatException(Fault.Encrypted, Structure, CryptMethodAt, $"{name} is encrypted with qcow2's AES method; {given}");
    }

    private static SectorCipherSource Decrypting(ReadOnlySpan<byte> secret, IBlockSource data, Qcow2Map map, ReadContext context)
    {
        Span<byte> key = stackalloc byte[AesKeyBytes];
        key.Clear();
        secret[..Math.Min(secret.Length, AesKeyBytes)].CopyTo(key);
        var cipher = new AesCbcCipher(key, SectorBytes, context.Budget, SectorIv.Plain64());
        CryptographicOperations.ZeroMemory(key);
        var stored = new MappedSource(map, [data, data]);
        return new SectorCipherSource(stored, cipher, context.Budget, stored);
    }

    /// <summary>True when a block of the cipher is one byte over and over, which noise never is; also when there is nothing to decrypt.</summary>
    private static bool LooksLikeData(SectorCipherSource source, Qcow2Map map, ReadContext context)
    {
        using RentedBuffer buffer = context.Budget.Rent(SampleBytes);
        long sampled = 0;
        long at = 0;
        for (int i = 0; i < MostSampleExtents && at < map.Length && sampled < MostSampleBytes; i++)
        {
            context.ThrowIfCancelled();
            Extent extent = map.Map(at, map.Length - at);
            if (extent.Kind == ExtentKind.Data && extent.Source == Qcow2Map.DataSource)
            {
                Span<byte> part = buffer.Span[..(int)Math.Min(extent.Length, SampleBytes)];
                source.Read(at, part);
                if (HasEqualBlock(part))
                {
                    return true;
                }

                sampled += part.Length;
            }

            at += extent.Kind == ExtentKind.Data ? Math.Min(extent.Length, SampleBytes) : extent.Length;
        }

        return sampled == 0;
    }

    private static bool HasEqualBlock(ReadOnlySpan<byte> bytes)
    {
        for (; bytes.Length >= AesKeyBytes; bytes = bytes[AesKeyBytes..])
        {
            if (!bytes[..AesKeyBytes].ContainsAnyExcept(bytes[0]))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The map with standard clusters at their guest offsets, by which they are decrypted.</summary>
    private sealed class GuestPlaces(Qcow2Map map) : IExtentMap
    {
        public long Length => map.Length;

        public Extent Map(long offset, long count)
        {
            Extent extent = map.Map(offset, count);
            return extent.Kind == ExtentKind.Data && extent.Source == Qcow2Map.DataSource ? extent with { Location = offset } : extent;
        }
    }
}
