using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>"FVE Volume Master Key (VMK)": the volume master key under one protector. 28 bytes and properties.</summary>
internal sealed class KeyProtector
{
    public const int ClearKeyType = 0x0000;
    public const int ExternalKeyType = 0x0200;
    public const int RecoveryPasswordType = 0x0800;
    public const int PasswordType = 0x2000;

    private const int PropertiesAt = 28;
    private const int SaltBytes = 16;
    private const int KeyBytes = 32;

    public KeyProtector(LeView v)
    {
        Id = v.MixedGuid(0);
        Type = v.U16(26);
        if (FveEntry.TryFind(v, PropertiesAt, FveValueType.AesCcmEncryptedKey, out FveEntry wrapped))
        {
            MasterKey = new WrappedKey(wrapped.Data);
        }

        if (FveEntry.TryFind(v, PropertiesAt, FveValueType.StretchKey, out FveEntry stretch))
        {
            Salt = stretch.Data.Field(4, SaltBytes).ToArray();
        }

        if (Type == ClearKeyType && FveEntry.TryFind(v, PropertiesAt, FveValueType.Key, out FveEntry key))
        {
            ClearKey = key.Data.Field(4, KeyBytes).ToArray();
        }
    }

    /// <summary>The key protector ID that manage-bde shows.</summary>
    public Guid Id { get; }

    public int Type { get; }

    /// <summary>Null where it is wrapped in a way that only a TPM or a smart card undoes.</summary>
    public WrappedKey? MasterKey { get; }

    /// <summary>Of passwords; empty for others.</summary>
    public byte[] Salt { get; } = [];

    /// <summary>The key itself, where protection is suspended; null otherwise.</summary>
    public byte[]? ClearKey { get; }

    /// <summary>As <c>manage-bde -protectors -get</c> names it.</summary>
    public string Kind => Type switch
    {
        ClearKeyType => "Clear Key",
        0x0100 => "TPM",
        ExternalKeyType => "External Key",
        0x0300 => "TPM And Startup Key",
        0x0400 or 0x0500 => "TPM And PIN",
        0x0600 or 0x0700 => "TPM And PIN And Startup Key",
        RecoveryPasswordType => "Numerical Password",
        0x1000 => "Smart Card (Certificate Based)",
        PasswordType => "Password",
        _ => string.Create(CultureInfo.InvariantCulture, $"protector of type 0x{Type:X4}"),
    };

    public override string ToString() => $"{Kind} {Id.ToString("B").ToUpperInvariant()}";
}
