namespace Vmsweep.Signatures.Matching;

/// <summary>A rule that matched.</summary>
/// <param name="Meta">In the order of the rule; a key may come twice.</param>
/// <param name="Matches">By string, then by offset; at most the engine's limit for each string.</param>
/// <param name="MatchesLeftOut">How many more string matches there were.</param>
public sealed record Detection(
    string Engine,
    string Rule,
    string Namespace,
    IReadOnlyList<string> Tags,
    IReadOnlyList<KeyValuePair<string, MetaValue>> Meta,
    Severity Severity,
    IReadOnlyList<StringMatch> Matches,
    long MatchesLeftOut);

/// <summary>Where a string of a rule was found.</summary>
/// <param name="Id">With its dollar sign.</param>
/// <param name="Offset">From the start of the content that was given.</param>
public readonly record struct StringMatch(string Id, long Offset, int Length);

/// <summary>Which of its fields a <see cref="MetaValue"/> uses.</summary>
public enum MetaKind
{
    Text,
    Number,
    Truth,
}

/// <summary>A value of a rule's <c>meta</c> section.</summary>
public readonly record struct MetaValue
{
    private readonly string? _text;

    public MetaValue(string text)
    {
        Kind = MetaKind.Text;
        _text = text;
    }

    public MetaValue(long number)
    {
        Kind = MetaKind.Number;
        Number = number;
    }

    public MetaValue(bool truth)
    {
        Kind = MetaKind.Truth;
        Number = truth ? 1 : 0;
    }

    public MetaKind Kind { get; }

    public string Text => _text ?? "";

    public long Number { get; }

    public bool Truth => Number != 0;

    public override string ToString() => Kind switch
    {
        MetaKind.Text => Text,
        MetaKind.Number => Number.ToString(System.Globalization.CultureInfo.InvariantCulture),
        _ => Truth ? "true" : "false",
    };
}
