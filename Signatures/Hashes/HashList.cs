using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Hashes;

/// <summary>A line of a hash list that was left out.</summary>
public sealed record HashFault(string File, int Line, string Message)
{
    public override string ToString() => $"{File}({Line}): {Message}";
}

/// <summary>
/// Known hashes of content: SHA-256, SHA-1 and MD5, told apart by their length. One a line, or CSV: the hash in any of the first three
/// columns, then a name and a severity, in whatever order. <c>#</c> and <c>//</c> start comments. Immutable; shared by all threads.
/// </summary>
public sealed class HashList
{
    public const string EngineName = "hash";

    private const int FirstColumns = 3;
    private const int MostNameLength = 256;

    private readonly HashTable _sha256 = new(32);
    private readonly HashTable _sha1 = new(20);
    private readonly HashTable _md5 = new(16);
    private readonly List<(string Name, string File, Severity Severity)> _labels = [];
    private readonly Dictionary<(string, string, Severity), int> _labelNumbers = [];

    private HashList()
    {
    }

    public EngineFacts Facts { get; private set; } = new(EngineName, "1", 0, "");

    /// <summary>True when the list holds SHA-1 hashes, so that they are worth computing.</summary>
    public bool NeedsSha1 => _sha1.Count > 0;

    /// <summary>True when the list holds MD5 hashes, so that they are worth computing.</summary>
    public bool NeedsMd5 => _md5.Count > 0;

    /// <summary>Reads list files; lines that hold no hash are left out and told of.</summary>
    public static HashList Read(IEnumerable<string> paths, ICollection<HashFault> faults)
    {
        List<(string, byte[])> files = [];
        foreach (string path in paths)
        {
            try
            {
                files.Add((path, File.ReadAllBytes(path)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                faults.Add(new HashFault(path, 0, e.Message));
            }
        }

        return Parse(files, faults);
    }

    /// <summary>As <see cref="Read"/>, from bytes.</summary>
    public static HashList Parse(IEnumerable<(string File, byte[] Text)> files, ICollection<HashFault> faults)
    {
        var list = new HashList();
        using var bundle = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string file, byte[] text) in files)
        {
            bundle.AppendData(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{text.Length}\0")));
            bundle.AppendData(text);
            list.Add(file, text, faults);
        }

        list._sha256.Finish();
        list._sha1.Finish();
        list._md5.Finish();
        int count = list._sha256.Count + list._sha1.Count + list._md5.Count;
        list.Facts = new EngineFacts(EngineName, "1", count, "sha256:" + Convert.ToHexStringLower(bundle.GetHashAndReset()));
        return list;
    }

    /// <summary>Looks content up by its hashes; those that were not computed are empty.</summary>
    /// <returns>The detection, or null. When several hashes are listed, SHA-256 before SHA-1 before MD5.</returns>
    public Detection? TryMatch(ReadOnlySpan<byte> sha256, ReadOnlySpan<byte> sha1 = default, ReadOnlySpan<byte> md5 = default) =>
        Found(_sha256, sha256, "sha256") ?? Found(_sha1, sha1, "sha1") ?? Found(_md5, md5, "md5");

    private Detection? Found(HashTable table, ReadOnlySpan<byte> hash, string kind)
    {
        int label = table.Find(hash);
        if (label < 0)
        {
            return null;
        }

        (string name, string file, Severity severity) = _labels[label];
        string hex = Convert.ToHexStringLower(hash);
        return new Detection(EngineName, name.Length > 0 ? name : hex, file, [], [new(kind, new MetaValue(hex))], severity, [], 0);
    }

    private void Add(string file, byte[] text, ICollection<HashFault> faults)
    {
        string source = Path.GetFileName(file);
        int number = 0;
        ReadOnlySpan<byte> rest = text.AsSpan().StartsWith("\uFEFF"u8) ? text.AsSpan(3) : text;
        while (!rest.IsEmpty)
        {
            number++;
            int end = rest.IndexOf((byte)'\n');
            ReadOnlySpan<byte> line = (end < 0 ? rest : rest[..end]).Trim(" \t\r\0"u8);
            rest = end < 0 ? [] : rest[(end + 1)..];
            if (!line.IsEmpty && line[0] != '#' && !line.StartsWith("//"u8) && AddLine(source, line) is { } fault && !(number == 1 && LooksLikeHeading(line)))
            {
                faults.Add(new HashFault(file, number, fault));
            }
        }
    }

    /// <summary>A CSV file may name its columns in the first line.</summary>
    private static bool LooksLikeHeading(ReadOnlySpan<byte> line)
    {
        string text = Encoding.UTF8.GetString(line);
        return text.IndexOfAny([',', ';', '\t']) >= 0
            && (text.Contains("hash", StringComparison.OrdinalIgnoreCase) || text.Contains("sha", StringComparison.OrdinalIgnoreCase) || text.Contains("md5", StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>Null when the line was taken, otherwise what is wrong with it.</summary>
    private string? AddLine(string source, ReadOnlySpan<byte> line)
    {
        string text = Encoding.UTF8.GetString(line);
        int comment = text.IndexOf('#', StringComparison.Ordinal);
        List<string> columns = Columns(comment > 0 ? text[..comment] : text);
        int at = columns.FindIndex(0, Math.Min(FirstColumns, columns.Count), c => TableFor(c) is not null && c.All(char.IsAsciiHexDigit));
        if (at < 0)
        {
            string first = columns.Count > 0 ? columns[0] : "";
            return first.Length > 0 && first.All(char.IsAsciiHexDigit)
                ? $"{first.Length} hexadecimal digits: MD5 has 32, SHA-1 40, SHA-256 64"
                : "no hash in hexadecimal digits";
        }

        Severity? severity = null;
        string name = "";
        foreach (string column in columns.Where((_, i) => i != at))
        {
            if (severity is null && Severities.Parse(column) is { } named)
            {
                severity = named;
            }
            else if (name.Length == 0 && !(TableFor(column) is not null && column.All(char.IsAsciiHexDigit)))
            {
                name = column.Length > MostNameLength ? column[..MostNameLength] : column;
            }
        }

        (string, string, Severity) label = (name, source, severity ?? Severity.High);
        if (!_labelNumbers.TryGetValue(label, out int labelNumber))
        {
            _labelNumbers.Add(label, labelNumber = _labels.Count);
            _labels.Add(label);
        }

        TableFor(columns[at])!.Add(Convert.FromHexString(columns[at]), labelNumber);
        return null;
    }

    private HashTable? TableFor(string hex) => hex.Length switch
    {
        64 => _sha256,
        40 => _sha1,
        32 => _md5,
        _ => null,
    };

    /// <summary>Columns between commas, semicolons or tabs, or blanks as <c>sha256sum</c> prints; quotes as in RFC 4180.</summary>
    private static List<string> Columns(string line)
    {
        List<string> columns = [];
        char separator = line.IndexOfAny([',', ';', '\t']) is var i && i >= 0 ? line[i] : ' ';
        var column = new StringBuilder();
        bool quoted = false;
        for (int at = 0; at < line.Length; at++)
        {
            char c = line[at];
            if (c == '"')
            {
                if (quoted && at + 1 < line.Length && line[at + 1] == '"')
                {
                    column.Append('"');
                    at++;
                }
                else
                {
                    quoted = !quoted;
                }
            }
            else if (c == separator && !quoted)
            {
                columns.Add(column.ToString().Trim());
                column.Clear();
            }
            else
            {
                column.Append(c);
            }
        }

        columns.Add(column.ToString().Trim());
        columns.RemoveAll(c => c.Length == 0);
        return columns;
    }
}
