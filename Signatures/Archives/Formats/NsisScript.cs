using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>
/// What a compiled script of Nullsoft's installers calls the files that it installs. Of its instructions only two are looked at, and nothing hangs on
/// them but names: a script that is laid out in another way leaves its files with numbers.
/// </summary>
internal sealed class NsisScript : IDisposable
{
    private const int BlocksAt = 4;
    private const int BlockBytes = 8;
    private const int Entries = 2;
    private const int Strings = 3;
    private const int EntryBytes = 28;
    private const int SetOutputFolder = 11;
    private const int ExtractFile = 20;
    private const int MostNameLength = 260;

    /// <summary>What a name takes in memory beside its text.</summary>
    private const int NameBytes = 128;

    private static readonly string[] Variables = ["CMDLINE", "INSTDIR", "OUTDIR", "EXEDIR", "LANGUAGE", "TEMP", "PLUGINSDIR", "EXEPATH", "EXEFILE", "HWNDPARENT", "_CLICK", "_OUTDIR"];

    private readonly Dictionary<uint, string> _names = [];
    private readonly TableMemory _memory;

    private NsisScript(IMemberSink sink) => _memory = new TableMemory(sink, "nsis script");

    /// <summary>The name of what lies at an offset behind the script.</summary>
    public string NameAt(long offset) =>
        offset <= uint.MaxValue && _names.TryGetValue((uint)offset, out string? name) ? name : string.Create(CultureInfo.InvariantCulture, $"(data at {offset})");

    public void Dispose() => _memory.Dispose();

    public static NsisScript Parse(ReadOnlySpan<byte> script, IMemberSink sink)
    {
        var parsed = new NsisScript(sink);
        if (!TryBlock(script, Entries, out uint entriesAt, out uint entries) || !TryBlock(script, Strings, out uint stringsAt, out _)
            || entriesAt + ((ulong)entries * EntryBytes) > (ulong)script.Length || script.Length - stringsAt < 2)
        {
            return parsed;
        }

        ReadOnlySpan<byte> strings = script[(int)stringsAt..];

        // The first string is the empty one.
        bool isUnicode = strings[0] == 0 && strings[1] == 0;
        string folder = "";
        for (int i = 0; i < entries; i++)
        {
            sink.Tick();
            ReadOnlySpan<byte> entry = script.Slice((int)entriesAt + (i * EntryBytes), EntryBytes);
            switch (BinaryPrimitives.ReadUInt32LittleEndian(entry))
            {
                case SetOutputFolder when Parameter(entry, 1) != 0:
                    folder = Text(strings, Parameter(entry, 0), isUnicode);
                    break;
                case ExtractFile:
                    string name = Text(strings, Parameter(entry, 1), isUnicode);
                    if (name.Length > 0 && parsed._names.TryAdd(Parameter(entry, 2), folder.Length > 0 ? $"{folder}\\{name}" : name))
                    {
                        parsed._memory.Add(NameBytes + (2 * (folder.Length + name.Length)));
                    }

                    break;
            }
        }

        return parsed;
    }

    private static bool TryBlock(ReadOnlySpan<byte> script, int number, out uint offset, out uint count)
    {
        offset = count = 0;
        int at = BlocksAt + (number * BlockBytes);
        if (script.Length < at + BlockBytes)
        {
            return false;
        }

        offset = BinaryPrimitives.ReadUInt32LittleEndian(script[at..]);
        count = BinaryPrimitives.ReadUInt32LittleEndian(script[(at + 4)..]);
        return offset < (uint)script.Length;
    }

    private static uint Parameter(ReadOnlySpan<byte> entry, int number) => BinaryPrimitives.ReadUInt32LittleEndian(entry[(4 + (4 * number))..]);

    /// <summary>A string with its variables by name. In those of version 2 without Unicode the codes are from 252 on.</summary>
    private static string Text(ReadOnlySpan<byte> strings, uint index, bool isUnicode)
    {
        var text = new StringBuilder();
        int step = isUnicode ? 2 : 1;
        for (long at = index * (long)step; at + step <= strings.Length && text.Length < MostNameLength; at += step)
        {
            int code = isUnicode ? BinaryPrimitives.ReadUInt16LittleEndian(strings[(int)at..]) : strings[(int)at];
            switch (isUnicode || code < 252 ? code : 256 - code)
            {
                case 0:
                    return text.ToString();
                case 1 or 2 or 3 when at + step + 2 <= strings.Length:
                    int operand = BinaryPrimitives.ReadUInt16LittleEndian(strings[(int)(at + step)..]);
                    text.Append(Kind(isUnicode || code < 252 ? code : 256 - code, (operand & 0x7F) | (operand >> 1 & 0x3F80)));
                    at += 2;
                    break;
                case 4 when at + (2 * step) <= strings.Length:
                    at += step;
                    text.Append((char)(isUnicode ? BinaryPrimitives.ReadUInt16LittleEndian(strings[(int)at..]) : strings[(int)at]));
                    break;
                default:
                    text.Append((char)code);
                    break;
            }
        }

        return text.ToString();
    }

    private static string Kind(int code, int operand) => code switch
    {
        3 when operand is >= 20 and < 32 => "$" + Variables[operand - 20],
        3 => "$",
        2 => "$SHELL",
        _ => "$LANG",
    };
}
