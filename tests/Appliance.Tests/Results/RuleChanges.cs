using System.Globalization;
using System.Text;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>A set of rules in several files, and changes of it by chance as people make them.</summary>
internal sealed class RuleChanges(Random random)
{
    private static readonly string[] Conditions =
    [
        "$a", "$a and not $b", "#a > 1", "any of them", "all of them and filesize < 60", "$a at 0 or $b", "uint16(0) == 0x5A4D and $a", "filesize > 20",
        "filename contains \"invoice\" and $a", "extension == \".exe\" and any of them", "math.entropy(0, filesize) > 3.5 and $a", "$a and REF", "not REF and $b",
        "any of (rule1*) or $a", "hash.md5(0, filesize) != \"\" and $b", "owner == \"\" and $a", "$missing",
    ];

    private readonly List<Rule> _rules = [];
    private int _named;

    public static string Word(Random random) => "w" + random.Next(40).ToString("00", CultureInfo.InvariantCulture) + "x";

    public int Count => _rules.Count;

    public void Add(int count)
    {
        for (int i = 0; i < count; i++)
        {
            _rules.Insert(random.Next(_rules.Count + 1), New());
        }
    }

    /// <summary>One change.</summary>
    public void Change()
    {
        int at = random.Next(_rules.Count);
        switch (random.Next(10))
        {
            case 0 or 1 or 2:
                Add(random.Next(1, 4));
                break;
            case 3:
                _rules.RemoveAt(at);
                break;
            case 4:
                _rules[at] = _rules[at] with { First = Word(random) };
                break;
            case 5:
                _rules[at] = _rules[at] with { Condition = Conditions[random.Next(Conditions.Length)] };
                break;
            case 6:
                _rules[at] = _rules[at] with { Indent = _rules[at].Indent + "  " };
                break;
            case 7:
                (Rule rule, int to) = (_rules[at], random.Next(_rules.Count));
                _rules.RemoveAt(at);
                _rules.Insert(to, rule);
                break;
            case 8:
                _rules[at] = _rules[at] with { File = random.Next(3) };
                break;
            default:
                _rules[at] = _rules[at] with { Kind = Kind() };
                break;
        }
    }

    public IReadOnlyDictionary<string, string> Files()
    {
        var files = new Dictionary<string, string>();
        foreach (IGrouping<int, Rule> file in _rules.GroupBy(r => r.File))
        {
            var text = new StringBuilder("import \"math\"\nimport \"hash\"\n");
            string before = "false";
            foreach (Rule rule in file)
            {
                text.Append(CultureInfo.InvariantCulture, $"{rule.Kind}rule {rule.Name} : tag{rule.Name} {{\n{rule.Indent}meta:\n{rule.Indent}  severity = \"low\" number = {rule.Name.Length}\n{rule.Indent}strings: $a = \"{rule.First}\" $b = \"{rule.Second}\"\n"
                    + $"{rule.Indent}condition: ({rule.Condition.Replace("REF", before, StringComparison.Ordinal)}) and (#a >= 0 and #b >= 0)\n}}\n");
                before = rule.Name;
            }

            files.Add($"f{file.Key}.yar", text.ToString());
        }

        return files;
    }

    private Rule New() => new($"rule{++_named}", random.Next(3), Kind(), Word(random), Word(random), Conditions[random.Next(Conditions.Length)], "");

    private string Kind() => random.Next(24) switch
    {
        0 => "global ",
        1 => "global private ",
        2 or 3 => "private ",
        _ => "",
    };

    private sealed record Rule(string Name, int File, string Kind, string First, string Second, string Condition, string Indent);
}
