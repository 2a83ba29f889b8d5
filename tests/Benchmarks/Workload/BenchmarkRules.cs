using Vmsweep.Signatures.Tests.Yara;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Benchmarks.Workload;

/// <summary>A rule file as both programs are given it.</summary>
internal sealed record NamedRules(string Namespace, string Path);

/// <summary>The rules of a run: what <c>vmsweep --rules</c> takes, and the same as the <c>yara</c> program takes them.</summary>
internal sealed class BenchmarkRules
{
    /// <summary>As many as a collection of public rules.</summary>
    private const int DefaultCount = 3000;

    private const int RulesInFile = 200;

    private BenchmarkRules(IReadOnlyList<string> sources)
    {
        Sources = sources;
        List<RuleFault> faults = [];
        IReadOnlyList<RuleFile> files = RuleSources.Read(sources, faults);
        if (faults.Find(f => !f.IsWarning) is { } fault)
        {
            throw new InvalidOperationException(fault.ToString());
        }

        Files = [.. files.Select(f => new NamedRules(f.Namespace, f.File))];
    }

    public IReadOnlyList<string> Sources { get; }

    /// <summary>Each file with the namespace that <c>vmsweep</c> gives it.</summary>
    public IReadOnlyList<NamedRules> Files { get; }

    /// <param name="given">What the user named; nothing for the corpus and the generated ones.</param>
    /// <param name="corpus">Folder with <c>yara/</c>.</param>
    /// <param name="set">Rules by chance are made from the contents of its files.</param>
    /// <param name="byChance">How many rules of the default set are made by chance from contents: they match everywhere, as few rules of a collection do.</param>
    /// <param name="fewAreCommon">As <see cref="PublicStyleRules"/> has it.</param>
    public static BenchmarkRules Make(IReadOnlyList<string> given, string corpus, ImageSet set, int byChance, bool fewAreCommon = false)
    {
        if (given.Count > 0)
        {
            return new BenchmarkRules([.. given.Select(Path.GetFullPath)]);
        }

        string yara = Path.Combine(Path.GetFullPath(corpus), "yara");
        bool hasCorpus = Directory.Exists(yara);
        if (!hasCorpus)
        {
            Console.Error.WriteLine($"no rules below {yara} (VMSWEEP_CORPUS): generated rules only");
        }

        List<RuleFault> faults = [];
        int published = hasCorpus ? RuleSources.Read([yara], faults).Sum(f => CountRules(f.Text)) : 0;
        string folder = Path.Combine(set.Scratch, fewAreCommon ? "rules-few" : "rules");
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        Directory.CreateDirectory(folder);
        var writer = new PublicStyleRules(20261, fewAreCommon);
        int left = DefaultCount - published - byChance;
        for (int file = 0; left > 0; file++)
        {
            int count = Math.Min(left, RulesInFile);
            File.WriteAllText(Path.Combine(folder, $"style_{file:00}.yar"), writer.Write(count));
            left -= count;
        }

        if (byChance > 0)
        {
            List<byte[]> contents = [.. new DirectoryInfo(set.Folder).EnumerateFiles("*", SearchOption.AllDirectories)
                .Where(f => f.Length is > 2_000 and < 400_000).OrderBy(f => f.FullName, StringComparer.Ordinal).Index()
                .Where(f => f.Index % 150 == 0).Take(100).Select(f => File.ReadAllBytes(f.Item.FullName))];
            File.WriteAllText(Path.Combine(folder, "by_chance.yar"), new RuleWriter(7, contents).Write(byChance));
        }

        return new BenchmarkRules(hasCorpus ? [yara, folder] : [folder]);
    }

    private static int CountRules(byte[] text) =>
        System.Text.Encoding.Latin1.GetString(text).Split('\n').Count(l => l.TrimStart() is { } t && (t.StartsWith("rule ", StringComparison.Ordinal) || t.StartsWith("private rule ", StringComparison.Ordinal)));
}
