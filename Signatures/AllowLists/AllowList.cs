using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Vmsweep.Signatures.AllowLists;

/// <summary>An entry that was left out.</summary>
/// <param name="Line">Where the entry begins; 1 is the first line, 0: the whole file.</param>
/// <param name="IsEntry">One entry, and the others are in use; false: nothing of the file is.</param>
public sealed record AllowFault(string File, int Line, string Message, bool IsEntry = false);

/// <summary>What is asked about a finding.</summary>
/// <param name="Paths">Every name of the content, as reports write them: all must be allowed.</param>
public sealed record AllowSubject(string Sha256, IReadOnlyList<string> Paths, string Rule, IReadOnlyList<string> Tags, string VmId, string VmName);

/// <summary>A finding that an operator does not want to be told of: who decided it, why, and until when.</summary>
/// <param name="Where">File and line.</param>
public sealed record AllowEntry(string Who, string Why, DateTimeOffset Until, string Where)
{
    internal string? Sha256 { get; init; }

    internal Glob? Path { get; init; }

    internal Glob? Rule { get; init; }

    internal Glob? Vm { get; init; }

    internal Glob? Tag { get; init; }

    /// <summary>Everything that the entry names must fit.</summary>
    internal bool Allows(AllowSubject subject) =>
        (Sha256 is null || Sha256.Equals(subject.Sha256, StringComparison.OrdinalIgnoreCase))
        && (Rule is null || Rule.Matches(subject.Rule))
        && (Tag is null || subject.Tags.Any(Tag.Matches))
        && (Vm is null || Vm.Matches(subject.VmId) || Vm.Matches(subject.VmName))
        && (Path is null || (subject.Paths.Count > 0 && subject.Paths.All(Path.Matches)));
}

/// <summary>
/// Findings that are suppressed: still reported, but marked and not counted. Schema <c>vmsweep.allow/1</c>. An entry names one or
/// several of <c>sha256</c>, <c>path</c>, <c>rule</c>, <c>vm</c> and <c>tag</c>, which must all fit, and always <c>who</c>, <c>why</c>
/// and <c>until</c>. What a guest says decides nothing that the operator did not write down: upper and lower case differ unless the entry says
/// <c>ignoreCase</c>, and a content that has another name as well is allowed only where that one is too.
/// </summary>
public sealed class AllowList
{
    public const string Schema = "vmsweep.allow/1";

    public const int MostBytes = 16 << 20;

    private const int MostEntries = 20_000;
    private const int MostText = 1000;

    private readonly Dictionary<string, List<AllowEntry>> _byHash = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<AllowEntry> _others = [];

    public AllowList(IEnumerable<AllowEntry> entries)
    {
        foreach (AllowEntry entry in entries)
        {
            if (entry.Sha256 is not { } hash)
            {
                _others.Add(entry);
            }
            else if (_byHash.TryGetValue(hash, out List<AllowEntry>? same))
            {
                same.Add(entry);
            }
            else
            {
                _byHash.Add(hash, [entry]);
            }
        }
    }

    public static AllowList Empty { get; } = new([]);

    /// <summary>The first entry that allows a finding; null: it counts.</summary>
    public AllowEntry? Find(AllowSubject subject) =>
        (_byHash.TryGetValue(subject.Sha256, out List<AllowEntry>? entries) ? entries.Find(e => e.Allows(subject)) : null) ?? _others.Find(e => e.Allows(subject));

    /// <summary>Reads a file of entries.</summary>
    /// <param name="faults">Told of entries that are left out: incomplete, wrong, or over.</param>
    /// <returns>The entries in use, and how many stand in the file.</returns>
    public static (IReadOnlyList<AllowEntry> Entries, int Count) Parse(ReadOnlySpan<byte> json, string file, DateTimeOffset now, ICollection<AllowFault> faults)
    {
        List<AllowEntry> entries = [];
        int count = 0;
        json = json.StartsWith("\uFEFF"u8) ? json[3..] : json;
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 8, CommentHandling = JsonCommentHandling.Skip });
        bool hasSchema = false;
        bool hasEntries = false;
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                faults.Add(new AllowFault(file, 1, "no object: { \"schema\": \"" + Schema + "\", \"entries\": [ ... ] }"));
                return ([], 0);
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals("schema"u8) && !hasSchema && reader.Read())
                {
                    hasSchema = reader.TokenType == JsonTokenType.String && reader.ValueTextEquals(Schema);
                }
                else if (reader.ValueTextEquals("entries"u8) && !hasEntries && reader.Read() && reader.TokenType == JsonTokenType.StartArray)
                {
                    hasEntries = true;
                    ReadEntries(ref reader, json, file, now, entries, faults, ref count);
                }
                else
                {
                    faults.Add(new AllowFault(file, LineAt(json, reader.TokenStartIndex), "only \"schema\" and a list of \"entries\" are known here"));
                    return ([], 0);
                }
            }

            // What follows behind the object.
            reader.Read();
        }
        catch (JsonException e)
        {
            faults.Add(new AllowFault(file, (int)(e.LineNumber ?? 0) + 1, "no JSON: " + Bundles.JsonText.Of(e)));
            return ([], 0);
        }

        if (!hasSchema || !hasEntries)
        {
            faults.Add(new AllowFault(file, 0, hasSchema ? "it has no \"entries\"" : $"its \"schema\" is not {Schema}"));
            return ([], 0);
        }

        if (count > MostEntries)
        {
            faults.Add(new AllowFault(file, 0, $"more than {MostEntries} entries"));
            return ([], 0);
        }

        return (entries, count);
    }

    /// <summary>As <see cref="Parse"/>, from a file.</summary>
    public static IReadOnlyList<AllowEntry> Read(string file, DateTimeOffset now, ICollection<AllowFault> faults)
    {
        try
        {
            using FileStream stream = File.OpenRead(file);
            byte[] bytes = new byte[Math.Min(stream.Length, MostBytes + 1L)];
            stream.ReadExactly(bytes);
            if (bytes.Length > MostBytes)
            {
                faults.Add(new AllowFault(file, 0, $"larger than {MostBytes >> 20} MiB"));
                return [];
            }

            return Parse(bytes, file, now, faults).Entries;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            faults.Add(new AllowFault(file, 0, e.Message));
            return [];
        }
    }

    private static void ReadEntries(
        ref Utf8JsonReader reader, ReadOnlySpan<byte> json, string file, DateTimeOffset now, List<AllowEntry> entries, ICollection<AllowFault> faults, ref int count)
    {
        int line = 1;
        int at = 0;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            count++;
            Utf8JsonReader entry = reader;
            line += json[at..(int)reader.TokenStartIndex].Count((byte)'\n');
            at = (int)reader.TokenStartIndex;
            reader.Skip();
            if (count > MostEntries)
            {
                continue;
            }

            try
            {
                AllowEntryJson? read = JsonSerializer.Deserialize(ref entry, AllowJson.Default.AllowEntryJson);
                if (Check(read, now, string.Create(CultureInfo.InvariantCulture, $"{file}:{line}"), out AllowEntry? sound) is { } wrong)
                {
                    faults.Add(new AllowFault(file, line, "allow entry: " + wrong, IsEntry: true));
                }
                else
                {
                    entries.Add(sound!);
                }
            }
            catch (JsonException e)
            {
                faults.Add(new AllowFault(file, line, "allow entry: " + Bundles.JsonText.Of(e), IsEntry: true));
            }
        }
    }

    /// <summary>Null and the entry, or why it is not in use.</summary>
    private static string? Check(AllowEntryJson? read, DateTimeOffset now, string where, out AllowEntry? entry)
    {
        entry = null;
        if (read is null)
        {
            return "it is empty";
        }

        foreach ((string name, string? text) in new[] { ("who", read.Who), ("why", read.Why), ("until", read.Until) })
        {
            if (string.IsNullOrWhiteSpace(text) || text.Length > MostText)
            {
                return $"without \"{name}\" it is not used";
            }
        }

        if (!TryEnd(read.Until!, out DateTimeOffset until))
        {
            return "\"until\" is no date such as 2027-01-31";
        }

        if (until <= now)
        {
            return $"it ended with {read.Until}, and is not used any more";
        }

        if (read.Sha256 is null && read.Path is null && read.Rule is null && read.Vm is null && read.Tag is null)
        {
            return "it names none of \"sha256\", \"path\", \"rule\", \"vm\", \"tag\"";
        }

        if (read.Sha256 is { } hash && (hash.Length != 64 || !hash.All(char.IsAsciiHexDigit)))
        {
            return "\"sha256\" is not 64 hexadecimal digits";
        }

        string? wrong = null;
        Glob? path = Pattern("path", read.Path, isPath: true);
        Glob? rule = Pattern("rule", read.Rule);
        Glob? vm = Pattern("vm", read.Vm);
        Glob? tag = Pattern("tag", read.Tag);
        if (wrong is null)
        {
            entry = new AllowEntry(read.Who!, read.Why!, until, where) { Sha256 = read.Sha256, Path = path, Rule = rule, Vm = vm, Tag = tag };
        }

        return wrong;

        Glob? Pattern(string name, string? text, bool isPath = false)
        {
            if (text is null)
            {
                return null;
            }

            if (!Glob.TryParse(text, isPath, isPath && read.IgnoreCase, out Glob? glob, out string error))
            {
                wrong ??= $"\"{name}\": {error}";
            }

            return glob;
        }
    }

    /// <summary>A day ends with its last second, in UTC.</summary>
    private static bool TryEnd(string text, out DateTimeOffset end)
    {
        if (DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out DateOnly day))
        {
            end = day < DateOnly.MaxValue ? new DateTimeOffset(day.AddDays(1).ToDateTime(TimeOnly.MinValue), TimeSpan.Zero) : DateTimeOffset.MaxValue;
            return true;
        }

        return DateTimeOffset.TryParseExact(text, ["yyyy-MM-dd'T'HH:mm:ssK", "yyyy-MM-dd'T'HH:mmK"], CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out end);
    }

    private static int LineAt(ReadOnlySpan<byte> json, long index) => 1 + json[..(int)index].Count((byte)'\n');
}

/// <summary>An entry as it is written.</summary>
internal sealed record AllowEntryJson
{
    public string? Sha256 { get; init; }

    public string? Path { get; init; }

    public bool IgnoreCase { get; init; }

    public string? Rule { get; init; }

    public string? Vm { get; init; }

    public string? Tag { get; init; }

    public string? Who { get; init; }

    public string? Why { get; init; }

    public string? Until { get; init; }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    AllowDuplicateProperties = false)]
[JsonSerializable(typeof(AllowEntryJson))]
internal sealed partial class AllowJson : JsonSerializerContext;
