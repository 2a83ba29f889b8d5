using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>Runs rules over a folder of known good files.</summary>
internal sealed class RuleTrials(TryRulesJob job, EventWriter writer)
{
    /// <summary>Of a very large set the fast ones are only counted: an event has its limit.</summary>
    private const int MostRulesSaid = 10_000;

    private readonly ProgressReporter _progress = new(writer);
    private readonly List<RuleFault> _faults = [];
    private long _files;
    private long _bytes;

    /// <exception cref="JobFailedException">There is nothing to run or nothing to run it on.</exception>
    public static void Run(TryRulesJob job, EventWriter writer)
    {
        try
        {
            new RuleTrials(job, writer).Run();
        }
        catch (YaraException e)
        {
            throw new JobFailedException(e.Message);
        }
    }

    private void Run()
    {
        List<RuleFile> rules = [.. RuleSources.Read(job.Sources, _faults), .. job.Builtin ? RuleSources.Builtin() : []];
        using HashSets? hashes = job.HashSets.Count > 0 ? HashSets.Open(job.HashSets, HashSetKind.Bad) : null;
        List<(string Path, string Name, long Bytes)> files = Files();
        if (files.Count == 0)
        {
            throw new JobFailedException("there is no file in what --good names");
        }

        Match(rules, hashes, files);
        List<(string Name, byte[] Content)> sample = Sample(files);
        List<RuleFault> again = [];
        TimeSpan baseline = RuleCosts.Baseline(sample, job.TimeoutSeconds, CancellationToken.None);
        List<RuleCost> costs = [.. RuleCosts.Measure(rules, sample, job.TimeoutSeconds, again, _progress.Step, CancellationToken.None)];
        writer.Send(new RulesTriedEvent(new RuleTrial(
            _files,
            _bytes,
            sample.Count,
            sample.Total(s => s.Content.Length),
            Math.Round(baseline.TotalMilliseconds, 3),
            costs.Count,
            [
                .. costs.OrderByDescending(c => c.Time).Take(MostRulesSaid)
                    .Select(c => new RuleCostReport(c.Rule, c.Namespace, c.File, c.Line, Math.Round(c.Time.TotalMilliseconds, 3), c.Fault))
            ],
            [.. _faults.Where(f => !f.IsWarning).Select(f => new RuleFaultReport(f.File, f.Line, f.Rule.Length > 0 ? $"rule {f.Rule}: {f.Message}" : f.Message))])));
    }

    /// <summary>Regular files below the folder; links are not followed.</summary>
    private List<(string Path, string Name, long Bytes)> Files()
    {
        List<(string, string, long)> files = [];
        if (File.Exists(job.Folder))
        {
            files.Add((job.Folder, Path.GetFileName(job.Folder), new FileInfo(job.Folder).Length));
            return files;
        }

        var open = new Stack<string>([job.Folder]);
        while (open.TryPop(out string? folder))
        {
            _progress.Step();
            try
            {
                foreach (FileSystemInfo entry in new DirectoryInfo(folder).EnumerateFileSystemInfos("*", new EnumerationOptions { AttributesToSkip = FileAttributes.None, IgnoreInaccessible = false }))
                {
                    if (entry.LinkTarget is not null)
                    {
                        continue;
                    }

                    if (entry is DirectoryInfo)
                    {
                        open.Push(entry.FullName);
                    }
                    else if (Connectors.Datastore.HostFile.KindOf(entry.FullName) == Connectors.Datastore.HostFileKind.Regular)
                    {
                        files.Add((entry.FullName, Shown(entry.FullName), ((FileInfo)entry).Length));
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Gap(Fault.Transport, Shown(folder), 0, e.Message);
            }
        }

        files.Sort((a, b) => string.CompareOrdinal(a.Item1, b.Item1));
        return files;
    }

    private string Shown(string path) => GuestName.Escape(Encoding.UTF8.GetBytes(Path.GetRelativePath(job.Folder, path)), controls: false);

    private void Match(List<RuleFile> rules, HashSets? hashes, List<(string Path, string Name, long Bytes)> files)
    {
        using YaraRules? compiled = rules.Count > 0 ? YaraRules.Compile(rules, new YaraOptions { Timeout = TimeSpan.FromSeconds(job.TimeoutSeconds) }, _faults) : null;
        if ((compiled?.Facts.Rules ?? 0) + (hashes?.Count ?? 0) == 0)
        {
            throw new JobFailedException(_faults.Count > 0 ? string.Join('\n', _faults) : "there is no rule and no hash to try");
        }

        using IMatcher? matcher = compiled?.CreateMatcher();
        var needs = new HashNeeds(hashes?.NeedsSha1 ?? false, hashes?.NeedsMd5 ?? false);
        foreach ((string path, string name, long bytes) in files)
        {
            _progress.Step();
            if (Read(path, name, bytes) is not { } content)
            {
                continue;
            }

            List<Detection> found = [];
            string file = Path.GetFileName(name);
            if (matcher?.Match(content, new ContentFacts(file, name, Path.GetExtension(file), null, ""), found, CancellationToken.None) is { } fault)
            {
                Gap(fault.Kind == MatchFaultKind.Timeout ? Fault.Timeout : Fault.Limit, name, content.Length, fault.Rule.Length > 0 ? $"rule {fault.Rule}: {fault.Detail}" : fault.Detail);
            }

            ContentHashes known = needs.Of(content);
            if (hashes?.TryMatch(known.Sha256, known.Sha1, known.Md5) is { } listed)
            {
                found.Add(listed);
            }

            found.ForEach(f => writer.Find(new FindingReport
            {
                Path = name,
                SizeBytes = content.Length,
                Sha256 = known.Hex,
                Engine = f.Engine,
                Rule = f.Rule,
                Namespace = f.Namespace,
                Tags = f.Tags,
                Severity = f.Severity.ToString().ToLowerInvariant(),
                Matches = [.. f.Matches.Select(m => new MatchReport(m.Id, m.Offset, m.Length))],
            }));
            _files++;
            _bytes += content.Length;
        }
    }

    /// <summary>Files picked by the digest of their names: all over the folder, and the same ones each time.</summary>
    private List<(string Name, byte[] Content)> Sample(List<(string Path, string Name, long Bytes)> files)
    {
        List<(string Name, byte[] Content)> sample = [];
        long left = job.SampleBytes;
        foreach ((string path, string name, long bytes) in files.Where(f => f.Bytes > 0).OrderBy(f => Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(f.Name))), StringComparer.Ordinal))
        {
            if (bytes <= left && Read(path, name, bytes, isSaid: false) is { } content)
            {
                sample.Add((name, content));
                left -= bytes;
            }
        }

        return sample;
    }

    private byte[]? Read(string path, string name, long bytes, bool isSaid = true)
    {
        try
        {
            if (bytes <= job.MemoryBytes)
            {
                return File.ReadAllBytes(path);
            }

            if (isSaid)
            {
                Gap(Fault.Limit, name, bytes, $"larger than {job.MemoryBytes} bytes, which --memory allows");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (isSaid)
            {
                Gap(Fault.Transport, name, bytes, e.Message);
            }
        }

        return null;
    }

    private void Gap(Fault fault, string path, long bytes, string detail) => writer.Add(new CoverageGap(fault, path, "file", -1, bytes, detail));
}
