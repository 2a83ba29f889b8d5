using System.Globalization;
using Vmsweep.Signatures.AllowLists;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>Looks into the parts of a bundle: rules must compile, lists must be lists.</summary>
internal static class PartsCheck
{
    private const int MostFaultsSaid = 20;

    /// <exception cref="JobFailedException">Something is wrong with a part; the message has file and line.</exception>
    public static void Run(CheckPartsJob job, EventWriter writer)
    {
        List<(string File, int Line, string Message)> faults = [];
        string Place(string path) => Path.Combine(job.Folder, path);
        if (job.Parts.Any(p => PartKinds.Of(p) == PartKind.Yara))
        {
            CompileRules(Place(PartKinds.Folder(PartKind.Yara)), faults);
        }

        var counts = new long[job.Parts.Count];
        for (int i = 0; i < counts.Length; i++)
        {
            string file = Place(job.Parts[i]);
            switch (PartKinds.Of(job.Parts[i]))
            {
                case PartKind.Yara:
                    counts[i] = RuleSources.Count(new RuleFile(file, "", null, File.ReadAllBytes(file)));
                    break;
                case PartKind.Allow:
                    counts[i] = CheckAllowList(file, faults);
                    break;
                case PartKind.Hashes or PartKind.KnownGood:
                    List<HashFault> found = [];
                    counts[i] = HashSetBuilder.Check(file, PartKinds.Of(job.Parts[i]) == PartKind.Hashes ? HashSetKind.Bad : HashSetKind.KnownGood, found);
                    faults.AddRange(found.Select(f => (f.File, f.Line, f.Message)));
                    break;
                default:
                    counts[i] = Lines(file);
                    break;
            }
        }

        if (faults.Count > 0)
        {
            throw new JobFailedException(string.Join('\n', faults.Take(MostFaultsSaid).Select(f => string.Create(CultureInfo.InvariantCulture, $"{f.File}:{f.Line}: {f.Message}")))
                + (faults.Count > MostFaultsSaid ? string.Create(CultureInfo.InvariantCulture, $"\nand {faults.Count - MostFaultsSaid} more") : ""));
        }

        writer.Send(new PartsCheckedEvent(counts));
    }

    private static void CompileRules(string folder, List<(string, int, string)> faults)
    {
        List<RuleFault> found = [];
        try
        {
            using YaraRules rules = YaraRules.Compile(RuleSources.Read([folder], found), new YaraOptions(), found);
        }
        catch (YaraException e)
        {
            throw new JobFailedException(e.Message);
        }

        faults.AddRange(found.Where(f => !f.IsWarning).Select(f => (f.File, f.Line, f.Rule.Length > 0 ? $"rule {f.Rule}: {f.Message}" : f.Message)));
    }

    /// <summary>An entry that is over by now is no fault: the others go on.</summary>
    private static int CheckAllowList(string file, List<(string, int, string)> faults)
    {
        List<AllowFault> found = [];
        (_, int count) = AllowList.Parse(File.ReadAllBytes(file), file, DateTimeOffset.MinValue, found);
        faults.AddRange(found.Select(f => (f.File, f.Line, f.Message)));
        return count;
    }

    /// <summary>Lines that are neither empty nor comments.</summary>
    private static long Lines(string file)
    {
        long lines = 0;
        foreach (string line in File.ReadLines(file))
        {
            ReadOnlySpan<char> text = line.AsSpan().Trim();
            if (!text.IsEmpty && text[0] != '#' && !text.StartsWith("//", StringComparison.Ordinal))
            {
                lines++;
            }
        }

        return lines;
    }
}
