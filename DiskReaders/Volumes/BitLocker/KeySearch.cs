using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>Looks for what unlocks a volume: the clear key, key files, then passwords, which are slow.</summary>
internal sealed class KeySearch(MetadataBlock block, ReadContext context)
{
    private int _stretches;

    /// <summary>What unlocked it, for people; empty until then.</summary>
    public string UnlockedBy { get; private set; } = "";

    /// <summary>Secrets of a form that this format knows.</summary>
    public int Tried { get; private set; }

    /// <summary>True when the limit ended the search.</summary>
    public bool IsCutShort => _stretches >= BitLockerLimits.MostStretches;

    /// <summary>The data key; null when nothing fits.</summary>
    /// <param name="isKey">Whether a data key that the operator gave makes sense of the volume.</param>
    public byte[]? Find(Func<byte[], bool> isKey)
    {
        foreach (KeyProtector protector in block.Protectors)
        {
            if (protector.ClearKey is { } clear && DataKey(protector, clear) is { } key)
            {
                return key;
            }
        }

        List<BitLockerSecret> secrets = [.. context.Secrets.Values.Select(v => new BitLockerSecret(v)).Where(s => s.Form != SecretForm.Other)];
        Tried = secrets.Count;
        foreach (BitLockerSecret secret in secrets.OrderBy(s => s.Form is SecretForm.Password or SecretForm.RecoveryPassword))
        {
            if (Try(secret, isKey) is { } key)
            {
                return key;
            }
        }

        return null;
    }

    private byte[]? Try(BitLockerSecret secret, Func<byte[], bool> isKey)
    {
        switch (secret.Form)
        {
            case SecretForm.DataKey:
                if (!isKey(secret.Key))
                {
                    return null;
                }

                UnlockedBy = "the master key given";
                return secret.Key;
            case SecretForm.KeyFile:
                return block.Protectors.Where(p => p.Id == secret.KeyFileId).Select(p => DataKey(p, secret.Key)).FirstOrDefault(k => k is not null);
            case SecretForm.RecoveryPassword:
                return TryPassword(secret, KeyProtector.RecoveryPasswordType);
            default:
                return TryPassword(secret, KeyProtector.PasswordType);
        }
    }

    private byte[]? TryPassword(BitLockerSecret secret, int type)
    {
        Span<byte> stretched = stackalloc byte[StretchKey.KeyBytes];
        foreach (KeyProtector protector in block.Protectors)
        {
            if (protector.Type != type || protector.Salt.Length == 0 || protector.MasterKey is null || IsCutShort)
            {
                continue;
            }

            _stretches++;
            StretchKey.Compute(secret.Key, protector.Salt, stretched, context);
            if (DataKey(protector, stretched) is { } key)
            {
                return key;
            }
        }

        return null;
    }

    /// <summary>From the protector's key to the volume master key, from that to the data key.</summary>
    private byte[]? DataKey(KeyProtector protector, ReadOnlySpan<byte> key)
    {
        if (protector.MasterKey?.Unwrap(key) is not { Length: StretchKey.KeyBytes } master)
        {
            return null;
        }

        byte[]? data = block.DataKey?.Unwrap(master);
        CryptographicOperations.ZeroMemory(master);
        UnlockedBy = data is null ? "" : protector.ToString();
        return data;
    }
}
