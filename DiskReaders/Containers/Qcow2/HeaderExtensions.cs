using System.Globalization;
using System.Numerics;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>qcow2 "Header extensions": type and length of 32 bits each, then data padded to 8 bytes. Big-endian. Unknown ones may be ignored.</summary>
internal sealed class HeaderExtensions
{
    private const uint End = 0;
    private const uint BackingFormatName = 0xE2792ACA;
    private const uint FeatureNameTable = 0x6803F857;
    private const uint ExternalDataFileName = 0x44415441;
    private const uint FullDiskEncryptionHeader = 0x0537BE77;
    private const int EncryptionPointerBytes = 16;
    private const int FeatureBytes = 48;
    private const byte IncompatibleFeature = 0;

    // Strict: a name that is not text names no file that could be asked for.
    private static readonly UTF8Encoding Utf8 = new(false, true);

    private readonly string?[] _featureNames = new string?[64];

    /// <summary>QEMU's name of the backing file's format; null when the image leaves it open.</summary>
    public string? BackingFormat { get; private set; }

    /// <summary>The external data file's name as found; null without one. Guest-controlled text.</summary>
    public string? DataFile { get; private set; }

    /// <summary>Where the header of the encryption lies and how long it is; null without one.</summary>
    public (long Offset, long Length)? EncryptionHeader { get; private set; }

    /// <param name="header">The first cluster.</param>
    /// <param name="at">Where the extensions begin.</param>
    /// <param name="end">Where they end at the latest.</param>
    public static HeaderExtensions Read(BeView header, int at, int end)
    {
        var found = new HeaderExtensions();
        while (at <= end - 8)
        {
            uint type = header.U32(at);
            uint length = header.U32(at + 4);
            if (type == End)
            {
                break;
            }

            header.Require(length <= (uint)(end - at - 8), at + 4, "header extension length");
            found.Add(type, header.Inner(at + 8, (int)length, "qcow2 header extension"));
            at += 8 + (((int)length + 7) & ~7);
        }

        return found;
    }

    /// <summary>A name without terminator, as found.</summary>
    public static string Text(BeView name)
    {
        try
        {
            string text = Utf8.GetString(name.Bytes);
            name.Require(!text.Contains('\0', StringComparison.Ordinal), 0, "name: it holds a NUL");
            return text;
        }
        catch (DecoderFallbackException)
        {
            throw name.Corrupt(0, "name: not UTF-8");
        }
    }

    /// <summary>The names of incompatible features as the image tells them, their bit numbers otherwise.</summary>
    public string NamesOf(ulong features)
    {
        var names = new List<string>();
        for (; features != 0; features &= features - 1)
        {
            int bit = BitOperations.TrailingZeroCount(features);
            names.Add(_featureNames[bit] is { Length: > 0 } name ? $"\"{name}\" (bit {bit})" : "bit " + bit.ToString(CultureInfo.InvariantCulture));
        }

        return string.Join(", ", names);
    }

    private void Add(uint type, BeView data)
    {
        switch (type)
        {
            case BackingFormatName:
                data.Require(BackingFormat is null, 0, "backing file format name: it is there twice");
                data.Require(data.Length <= Qcow2Limits.MostFormatNameBytes, 0, "backing file format name: too long");
                BackingFormat = Text(data);
                break;
            case ExternalDataFileName:
                data.Require(DataFile is null, 0, "external data file name: it is there twice");
                data.Require(data.Length is > 0 and <= Qcow2Limits.MostNameBytes, 0, "external data file name: its length");
                DataFile = Text(data);
                break;
            case FullDiskEncryptionHeader:
                data.Require(EncryptionHeader is null && data.Length >= EncryptionPointerBytes, 0, "full disk encryption header pointer");
                EncryptionHeader = (data.NonNegative64(0, "full disk encryption header offset"), data.NonNegative64(8, "full disk encryption header length"));
                break;
            case FeatureNameTable:
                for (int at = 0; at <= data.Length - FeatureBytes; at += FeatureBytes)
                {
                    if (data.U8(at) == IncompatibleFeature && data.U8(at + 1) < _featureNames.Length)
                    {
                        _featureNames[data.U8(at + 1)] = Encoding.UTF8.GetString(data.Field(at + 2, FeatureBytes - 2)).TrimEnd('\0');
                    }
                }

                break;
            default:
                break;
        }
    }
}
