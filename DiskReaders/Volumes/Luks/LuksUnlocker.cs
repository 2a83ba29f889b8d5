using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>
/// Tries the operator's secrets on a header: each as it is on every key slot, LUKS1 specification section 3.2 and LUKS2 section 3.5;
/// one that reads <c>master:HEX</c> as the volume key itself.
/// </summary>
internal sealed class LuksUnlocker(LuksHeader header, IBlockSource content, LuksLimits limits, ReadContext context)
{
    private const int AreaSectorBytes = 512;

    private readonly KeyWork _work = new(limits);
    private readonly SortedDictionary<int, DiskFormatException> _notTried = [];

    /// <summary>Finds the keys of all segments, or as many as there are. The caller disposes them.</summary>
    public VolumeKeys Unlock()
    {
        var keys = new VolumeKeys();
        try
        {
            foreach (byte[] secret in context.Secrets.Values)
            {
                LuksDigest[] missing = [.. header.NeededDigests.Where(d => !keys.Has(d))];
                if (missing.Length == 0)
                {
                    break;
                }

                if (!TryVolumeKey(secret, missing, keys))
                {
                    TrySlots(secret, missing, keys);
                }
            }

            keys.NotTried.AddRange(_notTried.Values);
            return keys;
        }
        catch
        {
            keys.Dispose();
            throw;
        }
    }

    private static bool IsVolumeKey(ReadOnlySpan<byte> secret, out byte[] key)
    {
        ReadOnlySpan<byte> prefix = "master:"u8;
        key = [];
        if (!secret.StartsWith(prefix) || secret.Length > prefix.Length + (2 * LuksLimits.MostKeyBytes))
        {
            return false;
        }

        byte[] made = new byte[(secret.Length - prefix.Length) / 2];
        if (Convert.FromHexString(Encoding.ASCII.GetString(secret[prefix.Length..]), made, out _, out int written) != System.Buffers.OperationStatus.Done || written == 0)
        {
            return false;
        }

        key = made;
        return true;
    }

    private bool TryVolumeKey(byte[] secret, LuksDigest[] missing, VolumeKeys keys)
    {
        if (!IsVolumeKey(secret, out byte[] key))
        {
            return false;
        }

        bool fits = false;
        foreach (LuksDigest digest in missing)
        {
            if (IsRight(key, digest))
            {
                keys.Add(digest, key, "its volume key");
                fits = true;
            }
        }

        CryptographicOperations.ZeroMemory(key);
        return fits;
    }

    private void TrySlots(byte[] secret, LuksDigest[] missing, VolumeKeys keys)
    {
        foreach (LuksKeySlot slot in header.Slots.Where(s => s.Fault is null).OrderByDescending(s => s.Priority))
        {
            LuksDigest[] digests = [.. missing.Where(d => d.Slots.Contains(slot.Number) && !keys.Has(d))];
            if (digests.Length == 0)
            {
                continue;
            }

            context.ThrowIfCancelled();
            using RentedBuffer key = context.Budget.Rent(slot.KeyBytes);
            if (TryOpen(slot, secret, key.Span))
            {
                foreach (LuksDigest digest in digests)
                {
                    if (IsRight(key.Span, digest))
                    {
                        keys.Add(digest, key.Span, $"key slot {slot.Number}");
                    }
                }
            }

            CryptographicOperations.ZeroMemory(key.Span);
        }
    }

    /// <summary>Takes a slot's key out with a secret, right or wrong; false when it costs too much or its area cannot be read.</summary>
    private bool TryOpen(LuksKeySlot slot, ReadOnlySpan<byte> secret, Span<byte> key)
    {
        try
        {
            int splitBytes = slot.KeyBytes * slot.Stripes;
            using RentedBuffer split = context.Budget.Rent((splitBytes + AreaSectorBytes - 1) & ~(AreaSectorBytes - 1));
            using RentedBuffer areaKey = context.Budget.Rent(slot.AreaKeyBytes);
            Bounds.Check(slot.AreaOffset, split.Length, content.Length, "LUKS key slot area");
            slot.Kdf.Derive(secret, areaKey.Span, _work, context.Budget);
            content.Read(slot.AreaOffset, split.Span);
            using (ISectorCipher cipher = LuksCipher.Make(slot.Encryption, areaKey.Span, AreaSectorBytes, 0, context.Budget))
            {
                cipher.Decrypt(0, split.Span);
            }

            AntiForensic.Merge(split.Span[..splitBytes], key, LuksHash.Of(slot.SplitHash, "LUKS key slot", slot.AreaOffset));
            CryptographicOperations.ZeroMemory(areaKey.Span);
            CryptographicOperations.ZeroMemory(split.Span);
            return true;
        }
        catch (DiskFormatException e)
        {
            _notTried.TryAdd(slot.Number, new DiskFormatException(e.Fault, e.Structure, e.Offset, $"key slot {slot.Number}: {e.Detail}"));
            return false;
        }
    }

    private bool IsRight(ReadOnlySpan<byte> key, LuksDigest digest)
    {
        try
        {
            Span<byte> found = stackalloc byte[digest.Value.Length];
            digest.Kdf.Derive(key, found, _work, context.Budget);
            return CryptographicOperations.FixedTimeEquals(found, digest.Value);
        }
        catch (DiskFormatException e)
        {
            _notTried.TryAdd(-1 - digest.Number, new DiskFormatException(e.Fault, e.Structure, e.Offset, $"digest {digest.Number}: {e.Detail}"));
            return false;
        }
    }
}
