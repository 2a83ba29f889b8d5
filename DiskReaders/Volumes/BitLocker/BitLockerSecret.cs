using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>The forms a secret of the operator's can have for this format.</summary>
internal enum SecretForm
{
    /// <summary>Of no form that fits BitLocker.</summary>
    Other,
    Password,
    RecoveryPassword,
    KeyFile,
    DataKey,
}

/// <summary>One secret, recognised by its form.</summary>
internal sealed class BitLockerSecret
{
    private const int RecoveryGroups = 8;
    private const int KeyFileHeaderBytes = 48;
    private const int ExternalKeyPropertiesAt = 24;

    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public BitLockerSecret(byte[] value)
    {
        if (value.AsSpan().StartsWith("master:"u8))
        {
            Form = TryHex(value.AsSpan("master:".Length), out byte[] key) ? SecretForm.DataKey : SecretForm.Other;
            Key = key;
        }
        else if (TryKeyFile(value, out Guid id, out byte[] external))
        {
            Form = SecretForm.KeyFile;
            KeyFileId = id;
            Key = external;
        }
        else if (value.Length is > 0 and <= BitLockerLimits.MostPasswordBytes && TryText(value, out string text))
        {
            bool isRecovery = TryRecoveryPassword(text, out byte[] bits);
            Form = isRecovery ? SecretForm.RecoveryPassword : SecretForm.Password;
            Key = isRecovery ? SHA256.HashData(bits) : SHA256.HashData(SHA256.HashData(Encoding.Unicode.GetBytes(text)));
        }
    }

    public SecretForm Form { get; }

    /// <summary>Passwords: the hash that is stretched. Others: the key itself.</summary>
    public byte[] Key { get; } = [];

    /// <summary>The protector that a key file belongs to.</summary>
    public Guid KeyFileId { get; }

    private static bool TryText(byte[] value, out string text)
    {
        try
        {
            text = Utf8.GetString(value);
            return !text.Contains('\0', StringComparison.Ordinal);
        }
        catch (DecoderFallbackException)
        {
            text = "";
            return false;
        }
    }

    private static bool TryHex(ReadOnlySpan<byte> digits, out byte[] key)
    {
        key = new byte[digits.Length / 2];
        return digits.Length > 0 && Convert.FromHexString(digits, key, out _, out _) == System.Buffers.OperationStatus.Done && digits.Length % 2 == 0;
    }

    /// <summary>"Recovery key": eight numbers of six digits, each eleven times 16 bits of the key.</summary>
    private static bool TryRecoveryPassword(string text, out byte[] bits)
    {
        bits = new byte[2 * RecoveryGroups];
        string digits = string.Concat(text.Where(c => c is not ('-' or ' ')));
        if (digits.Length != 6 * RecoveryGroups || !digits.All(char.IsAsciiDigit))
        {
            return false;
        }

        for (int i = 0; i < RecoveryGroups; i++)
        {
            int number = int.Parse(digits.AsSpan(6 * i, 6), CultureInfo.InvariantCulture);
            if (number % 11 != 0 || number / 11 > ushort.MaxValue)
            {
                return false;
            }

            BinaryPrimitives.WriteUInt16LittleEndian(bits.AsSpan(2 * i), (ushort)(number / 11));
        }

        return true;
    }

    /// <summary>"BitLocker External Key (BEK) file": a metadata header and one external key.</summary>
    private static bool TryKeyFile(byte[] value, out Guid id, out byte[] key)
    {
        id = default;
        key = [];
        if (value.Length is < KeyFileHeaderBytes or > BitLockerLimits.MostKeyFileBytes)
        {
            return false;
        }

        try
        {
            var v = new LeView(value, "BEK file header", 0);
            uint size = v.U32(0);
            if (v.U32(4) != 1 || v.U32(8) != KeyFileHeaderBytes || size < KeyFileHeaderBytes || size > value.Length)
            {
                return false;
            }

            LeView row = v.Inner(KeyFileHeaderBytes, (int)size - KeyFileHeaderBytes, "BEK metadata entry");
            if (!FveEntry.TryFind(row, 0, FveValueType.ExternalKey, out FveEntry external)
                || !FveEntry.TryFind(external.Data, ExternalKeyPropertiesAt, FveValueType.Key, out FveEntry found))
            {
                return false;
            }

            id = external.Data.MixedGuid(0);
            key = found.Data.Field(4, StretchKey.KeyBytes).ToArray();
            return true;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }
}
