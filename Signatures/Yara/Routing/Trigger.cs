using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>
/// What is known of content before it is read: how it begins and whether it is large. For each of these kinds there is a prefilter of its
/// own, without the rules that cannot match such content.
/// </summary>
internal readonly record struct ContentKind(int Head, bool IsLarge)
{
    private const int LargeBytes = 1 << 20;
    private const int Heads = 3;

    public const int Count = Heads * 2;

    public int Number => (Head * 2) + (IsLarge ? 1 : 0);

    private ReadOnlySpan<byte> Magic => Head switch
    {
        1 => FileTypes.Program.Magic,
        2 => FileTypes.Elf.Magic,
        _ => [],
    };

    public static ContentKind FromNumber(int number) => new(number / 2, number % 2 != 0);

    public static ContentKind Of(ReadOnlySpan<byte> content) =>
        new(FileTypes.Program.Fits(content) ? 1 : FileTypes.Elf.Fits(content) ? 2 : 0, content.Length > LargeBytes);

    /// <summary>The need with the parts that cannot hold for this kind taken out.</summary>
    public Need Narrow(Need need)
    {
        ContentKind kind = this;
        return need.Replace(leaf => kind.Excludes(leaf) ? Need.Nothing : leaf);
    }

    private bool Excludes(Need leaf)
    {
        if (leaf.Kind == NeedKind.FileSize)
        {
            return IsLarge ? leaf.To <= LargeBytes : leaf.From > LargeBytes;
        }

        if (leaf.Kind != NeedKind.Bytes || leaf.From != 0)
        {
            return false;
        }

        if (Head != 0)
        {
            int common = Math.Min(Magic.Length, leaf.Value.Length);
            return !leaf.Value.AsSpan(0, common).SequenceEqual(Magic[..common]);
        }

        return FileTypes.Program.Fits(leaf.Value) || FileTypes.Elf.Fits(leaf.Value);
    }
}

/// <summary>Chooses the literals that are looked for: as few and as telling as do, one of them being in any content that a rule matches.</summary>
internal static class Trigger
{
    /// <summary>Literals of which one must be found, or null when a rule may match without any.</summary>
    public static List<Literal>? Of(Need need) => Choose(need).Literals;

    private static (List<Literal>? Literals, double Cost) Choose(Need need)
    {
        switch (need.Kind)
        {
            case NeedKind.Literal:
                return ([.. need.String!.Literals], need.String.Literals.Sum(CostOf));
            case NeedKind.AtLeast:
                // With n of k needed, k - n + 1 of them cannot all be missing.
                List<(List<Literal>? Literals, double Cost)> cheapest =
                    [.. need.Parts.Select(Choose).Where(c => c.Literals is not null).OrderBy(c => c.Cost).Take(need.Parts.Length - need.Count + 1)];
                return cheapest.Count < need.Parts.Length - need.Count + 1
                    ? (null, 0)
                    : ([.. cheapest.SelectMany(c => c.Literals!).Distinct()], cheapest.Sum(c => c.Cost));
            default:
                return (null, 0);
        }
    }

    /// <summary>How often it may be found, roughly.</summary>
    private static double CostOf(Literal literal) => Math.Pow(2, -literal.Quality / 2.0);
}
