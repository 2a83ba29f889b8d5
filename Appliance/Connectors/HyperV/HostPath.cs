using System.Buffers;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// An absolute path of Windows: a drive (<c>C:</c>), a share (<c>\\server\share</c>) or a volume (<c>\\?\Volume{GUID}</c>), and names below. Names that
/// mean something else to Windows than they say (<c>..</c>, streams, devices' wildcards, an end of dots or blanks) make it none.
/// </summary>
internal sealed record HostPath
{
    private const string Verbatim = @"\\?\";
    private const string VerbatimShare = @"\\?\UNC\";
    private const string Volume = "Volume{";

    private static readonly SearchValues<char> Meaning = SearchValues.Create(":*?\"<>|");

    /// <summary>Windows' own longest path.</summary>
    private const int MostChars = 32_767;

    private HostPath(string root, string[] names) => (Root, Names) = (root, names);

    public string Root { get; }

    public IReadOnlyList<string> Names { get; }

    public string Name => Names.Count > 0 ? Names[^1] : "";

    /// <summary>What stands behind the last dot, in lower case; empty where there is none.</summary>
    public string Extension => Name.LastIndexOf('.') is >= 0 and var dot ? Name[(dot + 1)..].ToLowerInvariant() : "";

    /// <summary>Null where it is no such path.</summary>
    public static HostPath? Parse(string path)
    {
        if (path.Length is 0 or > MostChars)
        {
            return null;
        }

        string text = path.Replace('/', '\\');
        int names;
        string root;
        if (text.StartsWith(VerbatimShare, StringComparison.OrdinalIgnoreCase))
        {
            text = @"\\" + text[VerbatimShare.Length..];
        }
        else if (text.StartsWith(Verbatim, StringComparison.Ordinal) && !text.AsSpan(Verbatim.Length).StartsWith(Volume, StringComparison.OrdinalIgnoreCase))
        {
            text = text[Verbatim.Length..];
        }

        string[] parts;
        if (text.StartsWith(Verbatim, StringComparison.Ordinal))
        {
            parts = text[Verbatim.Length..].TrimEnd('\\').Split('\\');
            (root, names) = (Verbatim + parts[0], 1);
            return Guid.TryParseExact(parts[0][(Volume.Length - 1)..], "B", out _) ? Of(root, parts[names..]) : null;
        }

        if (text.StartsWith(@"\\", StringComparison.Ordinal))
        {
            parts = text[2..].TrimEnd('\\').Split('\\');
            return parts.Length >= 2 && IsName(parts[0]) && IsName(parts[1]) ? Of($@"\\{parts[0]}\{parts[1]}", parts[2..]) : null;
        }

        return text.Length >= 2 && char.IsAsciiLetter(text[0]) && text[1] == ':' && (text.Length == 2 || text[2] == '\\')
            ? Of(text[..2].ToUpperInvariant(), text.Length <= 3 ? [] : text[3..].TrimEnd('\\').Split('\\'))
            : null;
    }

    /// <summary>A drive as another machine names it: by the share that each drive has.</summary>
    public HostPath Seen(string host) => Root.Length == 2 ? new HostPath($@"\\{host}\{Root[0]}$", [.. Names]) : this;

    /// <summary>The names below a path; null where it does not lie there.</summary>
    public IReadOnlyList<string>? Below(HostPath above) =>
        Root.Equals(above.Root, StringComparison.OrdinalIgnoreCase) && Names.Count >= above.Names.Count && Names.Take(above.Names.Count).SequenceEqual(above.Names, StringComparer.OrdinalIgnoreCase)
            ? [.. Names.Skip(above.Names.Count)]
            : null;

    public bool Equals(HostPath? other) => other is not null && string.Equals(ToString(), other.ToString(), StringComparison.OrdinalIgnoreCase);

    public override int GetHashCode() => StringComparer.OrdinalIgnoreCase.GetHashCode(ToString());

    public override string ToString() => Names.Count == 0 ? Root + (Root.Length == 2 ? @"\" : "") : $@"{Root}\{string.Join('\\', Names)}";

    private static HostPath? Of(string root, string[] names) => Array.TrueForAll(names, IsName) ? new HostPath(root, names) : null;

    private static bool IsName(string name) =>
        name.Length > 0 && name[^1] is not ('.' or ' ') && !name.AsSpan().ContainsAny(Meaning) && !name.Any(char.IsControl);
}
