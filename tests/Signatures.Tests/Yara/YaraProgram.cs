using System.Globalization;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>What the <c>yara</c> program and this product find with the same rules in the same files, in one form to compare.</summary>
internal static class YaraProgram
{
    /// <summary>One line a match: rule and file, then each string match with offset and length; sorted.</summary>
    public static List<string> Matches(string rules, IReadOnlyList<string> files, params string[] options)
    {
        string list = rules + ".list";
        File.WriteAllLines(list, files);
        string output = Tool.Run("yara", ["-w", "-s", "-L", "-p", "2", .. options, "--scan-list", rules, list]);
        List<string> found = [];
        var current = new StringBuilder();
        foreach (string line in output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.StartsWith("0x", StringComparison.Ordinal))
            {
                string[] parts = line.Split(':', 4);
                current.Append(CultureInfo.InvariantCulture, $" {Convert.ToInt64(parts[0], 16)}+{parts[1]}{parts[2]}");
                continue;
            }

            Flush();
            current.Append(line);
        }

        Flush();
        found.Sort(StringComparer.Ordinal);
        return found;

        void Flush()
        {
            if (current.Length > 0)
            {
                found.Add(current.ToString());
                current.Clear();
            }
        }
    }

    public static List<string> OurMatches(YaraRules rules, IReadOnlyList<string> files, ContentFacts facts = default)
    {
        List<string> lines = [];
        List<Detection> found = [];
        using IMatcher matcher = rules.CreateMatcher();
        foreach (string file in files)
        {
            found.Clear();
            Assert.Null(matcher.Match(File.ReadAllBytes(file), facts, found, CancellationToken.None));
            lines.AddRange(found.Select(d => Line(d, file)));
        }

        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    public static string Line(Detection detection, string file) =>
        $"{detection.Rule} {file}" + string.Concat(detection.Matches.Select(m => string.Create(CultureInfo.InvariantCulture, $" {m.Offset}+{m.Length}{m.Id}")));

    /// <summary>Compiles one text of rules, which must be right.</summary>
    public static YaraRules Compile(string text, bool routing = true)
    {
        List<RuleFault> faults = [];
        YaraRules rules = Compile(text, faults, routing);
        Assert.DoesNotContain(faults, f => !f.IsWarning);
        return rules;
    }

    public static YaraRules Compile(string text, ICollection<RuleFault> faults, bool routing = true) =>
        YaraRules.Compile([new RuleFile("rules.yar", "rules", null, Encoding.UTF8.GetBytes(text))], Options(routing), faults, TestContext.Current.CancellationToken);

    public static YaraOptions Options(bool routing = true) => new() { Routing = routing, MostMatches = int.MaxValue };

    /// <summary>The rules that match content.</summary>
    public static string[] Names(YaraRules rules, ReadOnlySpan<byte> content, ContentFacts facts = default)
    {
        using IMatcher matcher = rules.CreateMatcher();
        List<Detection> found = [];
        Assert.Null(matcher.Match(content, facts, found, CancellationToken.None));
        return [.. found.Select(d => d.Rule)];
    }
}
